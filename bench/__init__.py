"""Repeatable measurements of a running backchat server; never part of the test run, never imported by it.

``python -m bench --help`` measures, ``python -m bench.soak --help`` tries to break it.
"""
