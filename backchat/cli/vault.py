"""``backchat vault``: the encrypted history of a user, from any machine, which seals and opens it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import wraps
from importlib import import_module
from typing import Any, TypeVar

import click

from backchat.cli.harmless import one_line
from backchat.client.vault import Entry, VaultClient, VaultError
from backchat.sealing.failures import CannotOpen

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
_NUMBER = re.compile("[0-9]{1,16}")
URL = "http://127.0.0.1:8080"
TEXT_MAX = (
    "a chat may have about 7.8 MB of text, for it is a third larger when it is sealed; less if the server, or a proxy"
    " before it, takes no requests of 10 MiB"
)
# Imported when they are called for, like all commands.
COMMANDS = {
    "push": "vault_push",
    "pull": "vault_pull",
    "log": "vault_chats",
    "diff": "vault_chats",
    "restore": "vault_chats",
    "delete": "vault_chats",
    "adopt": "vault_chats",
    "key": "vault_keys",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"backchat.cli.{COMMANDS[cmd_name]}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Commands)
def vault() -> None:
    """Keep the history of your chats on a server that cannot read it.

    Like git for conversations: push them from files, pull them on any machine, compare and restore their versions.
    Messages are sealed and opened on this machine, with the vault key that your API key opens. Titles, topics,
    categories, tags, models and the ids of chats are not encrypted: the server searches them.

    These commands need the URL of a server and an API key, and nothing else of its installation.
    """


@dataclass(frozen=True, slots=True)
class Server:
    """Where the vault is, and the API key that opens it."""

    url: str
    key: str = field(repr=False)

    def run(self, work: Callable[[VaultClient], Coroutine[Any, Any, T]]) -> T:
        """Do some work on the vault. Raises ClickException for what the server refuses and for what does not open."""

        async def connected() -> T:
            async with VaultClient(self.url, self.key) as client:
                return await work(client)

        try:
            return asyncio.run(connected())
        except (VaultError, CannotOpen) as error:
            raise click.ClickException(reason(error)) from error


def reason(error: VaultError | CannotOpen) -> str:
    """What went wrong in one line. The words may be a server's, so they cannot command the terminal."""
    if isinstance(error, VaultError) and error.status == 413:
        return f"{one_line(str(error))}; {TEXT_MAX}"
    return one_line(str(error))


def server_options(command: F) -> F:
    """Give a command ``--url`` and ``--key``; it is called with the ``Server`` before its other arguments."""

    @click.option("--url", default=URL, show_default=True, envvar="BACKCHAT_URL", show_envvar=True, help="The server.")
    @click.option("--key", required=True, envvar="BACKCHAT_KEY", show_envvar=True, help="API key.")
    @wraps(command)
    def with_server(*args: Any, url: str, key: str, **more: Any) -> Any:
        return command(Server(url, key.strip()), *args, **more)

    return with_server  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Which:
    """The chat that a command is about: by its platform's id of it, or by the number of its entry."""

    chat: str
    platform: str | None
    by_number: bool

    def __str__(self) -> str:
        return f"entry {self.chat}" if self.by_number else one_line(self.chat)

    async def find(self, client: VaultClient) -> Entry:
        """Its entry. Raises ClickException if there is none, or if there are several."""
        if self.by_number:
            try:
                return await client.entry(int(self.chat))
            except VaultError as error:
                if error.status == 404:
                    raise click.ClickException(f"there is no entry {self.chat} in the vault") from error
                raise
        async with aclosing(client.pull(chat=self.chat, platform=self.platform)) as entries:
            found = [entry async for entry in entries]
        if not found:
            there = f" of the platform {one_line(self.platform)}" if self.platform is not None else ""
            raise click.ClickException(f"there is no chat {self} in the vault{there}")
        if len(found) > 1:
            platforms = ", ".join(sorted([one_line(entry.platform) for entry in found]))
            raise click.ClickException(f"there are several chats {self}: say which with --platform ({platforms})")
        return found[0]


def chat_argument(command: F) -> F:
    """Give a command the argument ``CHAT``, ``--platform`` and ``--entry``; it gets them as ``which``."""

    @click.argument("chat")
    @click.option("--platform", metavar="NAME", help="The platform of the chat, if several have one with this id.")
    @click.option("--entry", "by_number", is_flag=True, help="CHAT is the number of the entry, as pull lists it.")
    @wraps(command)
    def with_chat(*args: Any, chat: str, platform: str | None, by_number: bool, **more: Any) -> Any:
        if by_number and platform is not None:
            raise click.UsageError("--entry says which chat it is: leave --platform out")
        if by_number and _NUMBER.fullmatch(chat) is None:
            raise click.UsageError("with --entry, CHAT is the number of an entry")
        return command(*args, which=Which(chat, platform, by_number), **more)

    return with_chat  # type: ignore[return-value]
