"""Campaigns that try to make a server lose something: ``python -m bench.soak --help``."""
