"""What the core asks of a plugin, as Protocols and small values. A plugin imports these, never the reverse."""
