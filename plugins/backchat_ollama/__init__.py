"""The provider ``ollama``: its native chat API."""
