"""The conformance kit: everything that backchat relies on in a storage backend, as tests.

    pytest --backchat-storage=NAME --backchat-storage-config='{"path": "{dir}/my.db"}'

It has the contract of the storage port, the contracts of the abilities that the store has, random calls compared with a
reference store, and the story that every dialect tells, at the HTTP face of a whole server. backchat's own tests run it
on its own backends. docs/write-a-plugin.md says more.
"""
