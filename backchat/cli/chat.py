"""``backchat chat``: a conversation in the terminal, over the same HTTP that everybody else uses."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from typing import Any

import click

from backchat.cli.client import ChatClient, Refused

URL = "http://127.0.0.1:8080"
# What a model says must not be able to command the terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@click.command()
@click.option("--url", default=URL, show_default=True, envvar="BACKCHAT_URL", show_envvar=True, help="The server.")
@click.option("--key", required=True, envvar="BACKCHAT_KEY", show_envvar=True, help="API key.")
@click.option("--conversation", metavar="ID", help="Continue this conversation; a new one otherwise.")
@click.option("--provider", help="Who answers: the name of a configured provider.")
def chat(url: str, key: str, conversation: str | None, provider: str | None) -> None:
    """Talk to a server in the terminal.

    Every line of standard input is a message. Answers go to standard output, what the server is doing and what the
    model is thinking to standard error. Ctrl-C stops the reply that is coming in; at the prompt it ends the talk. Where
    a tool waits to be allowed, you are asked; where standard input is no terminal, it is not allowed.
    """
    interactive = sys.stdin.isatty()
    with asyncio.Runner() as runner:
        talk = runner.run(_begin(url, key, conversation, provider, interactive))
        try:
            for line in _lines(interactive):
                try:
                    complete = runner.run(talk.turn(line))
                except Refused as error:
                    if not interactive:
                        raise click.ClickException(str(error)) from error
                    click.secho(f"Error: {error}", fg="red", err=True)
                else:
                    if not complete and not interactive:
                        raise click.exceptions.Exit(1)
        finally:
            runner.run(talk.end())


async def _begin(url: str, key: str, conversation: str | None, provider: str | None, interactive: bool) -> Talk:
    return Talk(await ChatClient(url, key).__aenter__(), conversation, provider, ask=_allowed if interactive else None)


def _lines(interactive: bool) -> Iterator[str]:
    """The lines that hold something."""
    if interactive:
        with suppress(ImportError):
            import readline  # noqa: F401  (gives input() its line editing)
    while True:
        try:
            line = input("> ") if interactive else next(sys.stdin)
        except (EOFError, StopIteration):
            return
        if line.strip():
            yield line.rstrip("\r\n")


class Talk:
    """One conversation with a server. ``ask`` is asked whether a tool may do something; without it none may."""

    def __init__(
        self,
        client: ChatClient,
        conversation: str | None,
        provider: str | None,
        ask: Callable[[asyncio.Event], Awaitable[bool]] | None = None,
    ) -> None:
        self._client, self._ask = client, ask
        self._conversation = conversation
        self._provider = provider
        self._thinking = False

    async def end(self) -> None:
        await self._client.__aexit__()

    async def turn(self, text: str) -> bool:
        """Send a line and show the reply. False if it ended early. Raises Refused, and Abort at a second Ctrl-C."""
        message = {"text": text, "conversation_id": self._conversation}
        if self._provider is not None:
            message["provider"] = self._provider
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        run: asyncio.Future[str] = loop.create_future()
        cancelling: list[asyncio.Task[None]] = []
        stopped = asyncio.Event()

        def interrupted() -> None:
            stopped.set()
            if cancelling:
                task.cancel()
            else:
                cancelling.append(asyncio.create_task(self._cancel(run)))

        loop.add_signal_handler(signal.SIGINT, interrupted)
        try:
            async with aclosing(self._client.say(message)) as events:
                async for event in events:
                    if event["type"] == "meta":
                        run.set_result(event["run_id"])
                        self._conversation = event["conversation_id"]
                        continue
                    if self._thinking and event["type"] != "reasoning":
                        click.echo(err=True)
                    self._thinking = event["type"] == "reasoning"
                    if event["type"] in ("done", "error"):
                        return _show_end(event)
                    _show(event)
                    if event["type"] == "confirm":
                        await self._decide(event["run_id"], stopped)
            return False
        except asyncio.CancelledError:
            raise click.Abort from None
        finally:
            loop.remove_signal_handler(signal.SIGINT)
            for each in cancelling:
                each.cancel()
            await asyncio.gather(*cancelling, return_exceptions=True)

    async def _decide(self, run: str, stopped: asyncio.Event) -> None:
        allow = self._ask is not None and await self._ask(stopped)
        if stopped.is_set():
            return
        try:
            await self._client.confirm(run, allow)
        except Refused as error:  # somebody else has decided, as a rule: the stream says how it goes on
            click.secho(f"({error})", dim=True, err=True)

    async def _cancel(self, run: asyncio.Future[str]) -> None:
        await self._client.cancel(await run)


def _show(event: dict[str, Any]) -> None:
    match event["type"]:
        case "assistant":
            click.echo(_CONTROL.sub("", event["delta"]), nl=False)
        case "reasoning":
            click.secho(_CONTROL.sub("", event["delta"]), dim=True, nl=False, err=True)
        case "status":
            click.secho(_CONTROL.sub("", event["text"]), dim=True, err=True)
        case "confirm":
            for call in event["calls"]:
                shown = f"{call['label']} {json.dumps(call['arguments'], ensure_ascii=False)}"
                click.secho(_CONTROL.sub("", shown), bold=True, err=True)
        case "tool_start":
            click.secho(f"({_CONTROL.sub('', event['label'])})", dim=True, err=True)


async def _allowed(stopped: asyncio.Event) -> bool:
    """What somebody at the terminal says; no, if that is Ctrl-C."""
    click.echo("Allow? [y/N] ", nl=False, err=True)
    loop, typed = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), typed.set)  # not input(): a thread would go on waiting after Ctrl-C
    waiting = [asyncio.create_task(event.wait()) for event in (typed, stopped)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(sys.stdin.fileno())
        for each in waiting:
            each.cancel()
    return not stopped.is_set() and sys.stdin.readline().strip().lower() in ("y", "yes")


def _show_end(event: dict[str, Any]) -> bool:
    click.echo()
    if event["type"] == "done":
        return True
    stopped = event.get("code") == "cancelled"
    shown = "(stopped)" if stopped else _CONTROL.sub("", event["error"])
    click.secho(shown, err=True, dim=stopped, fg=None if stopped else "red")
    return False
