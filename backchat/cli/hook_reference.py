"""``docs/hooks.md``, made from the hooks themselves: ``python -m backchat.cli.hook_reference > docs/hooks.md``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from importlib.metadata import distribution
from types import ModuleType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import click

from backchat import hookspecs
from backchat.domain import rights
from backchat.plugins import GROUP
from backchat.ports.agents import AgentBackend
from backchat.ports.auth import AuthenticatorBackend
from backchat.ports.component import Component
from backchat.ports.embedding import EmbedderBackend
from backchat.ports.extraction import Extractor, Page, Unreadable
from backchat.ports.importing import Importer, Shape, SourceConversation, SourceMessage
from backchat.ports.importing import Unreadable as UnreadableEntry
from backchat.ports.learning import LearnerBackend
from backchat.ports.memory import MemoryBackend
from backchat.ports.providers import ProviderBackend, ProviderWrapper
from backchat.ports.storage import StorageBackend
from backchat.ports.tools import ToolBackend
from backchat.ports.transcription import TranscriberBackend
from backchat.web.dialect import Call, Dialect, Problem, Route

WIDTH = 120
HEAD = """\
# Hooks

<!-- Made from the hooks themselves by `python -m backchat.cli.hook_reference`; a test compares. Do not edit. -->
"""
LOADED = """\
A plugin is a module whose functions carry `@hookimpl` (`from backchat import hookimpl`) and the name of a hook. It is
found through an entry point of the group `backchat`; `backchat plugins` lists what was found. A function so marked
whose name is no hook, or that takes arguments the hook does not have, stops the start. How to write a plugin:
[write-a-plugin.md](write-a-plugin.md).
"""
# What the annotations of the hooks name; they import it for type checkers only.
_NAMES = {
    "AgentBackend": AgentBackend,
    "AuthenticatorBackend": AuthenticatorBackend,
    "Dialect": Dialect,
    "EmbedderBackend": EmbedderBackend,
    "Extractor": Extractor,
    "Importer": Importer,
    "LearnerBackend": LearnerBackend,
    "MemoryBackend": MemoryBackend,
    "ProviderBackend": ProviderBackend,
    "ProviderWrapper": ProviderWrapper,
    "StorageBackend": StorageBackend,
    "ToolBackend": ToolBackend,
    "TranscriberBackend": TranscriberBackend,
}


# What is offered as it is, with what it consists of; everything else is a component with a port behind it.
_PLAIN: dict[object, tuple[type, ...]] = {
    Dialect: (Dialect, Route, Call, Problem),
    Extractor: (Extractor, Page, Unreadable),
    Importer: (Importer, Shape, SourceConversation, SourceMessage, UnreadableEntry),
}


def hooks() -> dict[str, Callable[..., Any]]:
    """Every hook by name, in the order in which ``hookspecs`` has them."""
    return {n: f for n, f in vars(hookspecs).items() if n.startswith("backchat_") and inspect.isfunction(f)}


def hook_reference() -> str:
    """The whole page."""
    return "\n".join([HEAD, _text(hookspecs), LOADED, *_components(), *_hooks()])


def _text(documented: object) -> str:
    return (inspect.getdoc(documented) or "").replace("``", "`") + "\n"


def _source(thing: type | Callable[..., Any] | ModuleType) -> str:
    return f"```python\n{inspect.getsource(thing).rstrip()}\n```\n"


def _components() -> Iterator[str]:
    yield "## What is returned\n"
    others = "`backchat_dialects`, `backchat_extractors`, `backchat_importers` and `backchat_authorize`"
    yield f"Every hook returns components, but {others}:\n"
    yield _source(Component)


def _hooks() -> Iterator[str]:
    plugins = _first_party()
    for name, hook in hooks().items():
        yield f"## `{name}`\n"
        yield f"```python\n{_signature(name, hook)}\n```\n"
        yield _text(hook)
        if hook is hookspecs.backchat_authorize:
            yield f"All of `{rights.__name__}`:\n"
            yield _source(rights)
        else:
            (offered,) = get_args(get_type_hints(hook, {**vars(hookspecs), **_NAMES})["return"])
            first, *more = get_args(offered) if get_origin(offered) in (Union, UnionType) else (offered,)
            yield from _values(*_PLAIN[first]) if first in _PLAIN else _port(first)
            for other in more:
                yield _source(other)
        yield from _examples(name, {module: p for module, p in plugins.items() if hasattr(p, name)})


def _signature(name: str, hook: Callable[..., Any]) -> str:
    """As ruff would have it."""
    signature = inspect.signature(hook)
    arguments = ", ".join(str(p).replace("'", "") for p in signature.parameters.values())
    line = f"def {name}({arguments}) -> {signature.return_annotation}: ..."
    return line if len(line) <= WIDTH else line.replace(arguments, f"\n    {arguments}\n")


def _first_party() -> dict[str, ModuleType]:
    own = distribution("backchat").entry_points.select(group=GROUP)
    return {entry.value: entry.load() for entry in sorted(own, key=lambda e: e.value)}


def _values(*things: type) -> Iterator[str]:
    yield f"From `{things[0].__module__}`:\n"
    for thing in things:
        yield _source(thing)


def _port(backend: Any) -> Iterator[str]:
    (open_,) = get_args(backend)
    arguments, opened = get_args(open_)
    (port,) = get_args(opened)
    (port,) = get_args(port) or (port,)  # the one, or a sequence of them
    yield f"`open` is a `{_plain(open_)}`.\n"
    yield f"From `{port.__module__}`, where the values that pass through the port are as well:\n"
    yield _source(port)
    for argument in arguments:
        if getattr(argument, "__module__", "") == port.__module__:
            yield _source(argument)


def _plain(hint: object) -> str:
    """A type without the names of its modules."""
    return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", str(hint))


def _examples(name: str, plugins: dict[str, ModuleType]) -> Iterator[str]:
    if plugins:
        where = ", ".join(f"[{module}](../plugins/{module}/__init__.py)" for module in plugins)
        yield f"Implemented by {where}. The first of them:\n"
        yield _source(getattr(next(iter(plugins.values())), name))


if __name__ == "__main__":
    click.echo(hook_reference(), nl=False)
