"""The command ``backchat``: one file for each subject, put together here."""

from __future__ import annotations

from backchat.cli.chat import chat
from backchat.cli.check import check, plugins
from backchat.cli.group import main
from backchat.cli.keys import keys
from backchat.cli.serve import serve, worker
from backchat.cli.users import users

__all__ = ["main"]

for command in (serve, worker, keys, users, check, plugins, chat):
    main.add_command(command)
