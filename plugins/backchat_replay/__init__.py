"""The providers ``record`` and ``replay``."""
