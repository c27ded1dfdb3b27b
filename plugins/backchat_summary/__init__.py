"""The ``summary`` memory strategy."""
