"""Configurations that come with backchat, found as ``backchat.configs``."""
