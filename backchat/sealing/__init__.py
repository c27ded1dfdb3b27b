"""The formats of the vault, byte for byte, for the server and for clients: tokens, keys and their wraps, content.

All primitives are those of the package ``cryptography``. Nothing in here stores, sends or logs anything.
"""
