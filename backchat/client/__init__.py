"""Clients of a backchat server, for programs: they need its URL and a credential, and nothing of its installation."""
