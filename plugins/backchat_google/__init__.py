"""The provider ``google``: the Gemini API."""
