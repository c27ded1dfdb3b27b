"""From the text of a configuration to a ``Config``: every section is checked, then all problems are told at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from marshmallow import Schema, ValidationError

from backchat.config.document import MISSING, Problems, References, at, packaged, parse, read, without
from backchat.config.entries import COMMON
from backchat.config.faults import Keys, told, unknown
from backchat.config.sections import OWN, SECTIONS, Config, Configurable, Selected, options
from backchat.errors import ConfigError
from backchat.plugins import Offers, Plugins
from backchat.ports.extraction import Extractor
from backchat.ports.providers import ProviderWrapper
from backchat.ports.storage import StorageBackend
from backchat.services.extraction import by_suffix

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_LEFT_OUT = ("storage", "memory", "learning", "auth", "dialects")

C = TypeVar("C", bound=Configurable)


def load_config(path: Path | None, plugins: Plugins, *, data: Path) -> Config:
    """Read, resolve and check a configuration file; None takes ``minimal.yml``, which comes with backchat.

    ``data`` is the data directory that ``{$data: name}`` points into; it need not exist. Where the file leaves out
    ``storage``, ``memory``, ``learning``, ``auth`` or ``dialects``, those of ``minimal.yml`` hold. Raises ConfigError,
    one line for each problem, which begins with the option's path and never repeats a secret.
    """
    minimal = parse(packaged("minimal.yml"), "minimal.yml")
    here = Path.cwd()
    found = minimal
    if path is not None:
        here = path.parent
        found = parse(read(path), str(path))
        found |= {name: minimal[name] for name in _LEFT_OUT if found.get(name) is None}
    problems = Problems()
    known = [name for name, _ in SECTIONS]
    for name in found:
        if name not in known:
            problems.add(name, unknown(name, known))
    references = References(here, data, problems)
    resolved = {name: references.resolve(found[name], name) for name in known if found.get(name) is not None}
    return _Check(problems, plugins).config(resolved, uses_data=references.used_data)


def load_storage(path: Path | None, plugins: Plugins, *, data: Path) -> tuple[Selected[StorageBackend], bool]:
    """The section ``storage`` of a configuration file, that of ``minimal.yml`` if it has none or there is no file, and
    whether the storage is in the data directory. Other sections play no part. Raises ConfigError as ``load_config``
    does.
    """
    given = parse(read(path), str(path)) if path is not None else {}
    found = given.get("storage") or parse(packaged("minimal.yml"), "minimal.yml")["storage"]
    problems = Problems()
    references = References(path.parent if path is not None else Path.cwd(), data, problems)
    node = references.resolve(found, "storage")
    return _Check(problems, plugins).storage(node), references.used_data


class _Check:
    def __init__(self, problems: Problems, plugins: Plugins) -> None:
        self._problems, self._plugins = problems, plugins
        self._told = {line.partition(": ")[0] for line in problems.lines}

    def config(self, found: Mapping[str, Any], *, uses_data: bool) -> Config:
        offers = self._plugins
        own = {name: self._load(schema, found.get(name, {}), name, foreign=False) for name, schema in OWN.items()}
        storage = self._one(offers.storages, found["storage"], "storage")
        providers, names = self._named(offers.providers, found.get("providers"), "providers", "provider")
        default = self._default_provider(found.get("default_provider"), names)
        fallback = self._fallback(found.get("fallback", []), names)
        embedders, _ = self._named(offers.embedders, found.get("embedders", {}), "embedders", "embedder", least=0)
        memory = self._one(offers.memories, found["memory"], "memory")
        strategies, _ = self._named(offers.memories, found.get("strategies", {}), "strategies", "strategy", least=0)
        learning = self._one(offers.learners, found["learning"], "learning")
        auth = self._several(offers.authenticators, found["auth"], "auth")
        dialects = self._several(offers.dialects, found["dialects"], "dialects")
        tools = self._several(offers.tools, found.get("tools", []), "tools", least=0)
        agents = self._several(offers.agents, found.get("agents", []), "agents", least=0)
        transcription = None
        if "transcription" in found:
            transcription = self._one(offers.transcribers, found["transcription"], "transcription")
        self._once(dialects, "dialect")
        self._once(agents, "agent")
        if own["titles"] is not None and own["titles"].provider is not None:
            self._configured(own["titles"].provider, names, "titles.provider")
        extractors = self._extractors()
        if storage is None or memory is None or learning is None or default is None or self._problems.lines:
            raise ConfigError(self._problems.lines)
        return Config(
            storage=storage,
            providers=providers,
            default_provider=default,
            fallback=fallback,
            embedders=embedders,
            extractors=extractors,
            importers=tuple([offers.importers[name] for name in sorted(offers.importers)]),
            memory=memory,
            strategies=strategies,
            learning=learning,
            **own,
            tools=tools,
            agents=agents,
            transcription=transcription,
            auth=auth,
            dialects=dialects,
            authorize=offers.authorize,
            uses_data=uses_data,
        )

    def storage(self, node: Any) -> Selected[StorageBackend]:
        selected = self._one(self._plugins.storages, node, "storage")
        if selected is None or self._problems.lines:
            raise ConfigError(self._problems.lines)
        return selected

    def _one(self, offers: Offers[C], node: Any, path: str, common: Schema | None = None) -> Selected[C] | None:
        """What a section selects: a mapping with ``use``, or just the name. ``common`` are options beside its own."""
        if node is MISSING:
            return None
        section = {"use": node} if isinstance(node, str) else node
        if not isinstance(section, dict):
            self._problems.add(path, "must be a mapping such as {use: name, option: value}, or just a name")
            return None
        settings = dict(section)
        use = settings.pop("use", None)
        if use is MISSING:
            return None
        if use is None:
            self._problems.add(at(path, "use"), f"is required; installed: {', '.join(sorted(offers)) or 'none'}")
            return None
        try:
            component = offers.pick(use)
        except ConfigError as error:
            self._problems.add(at(path, "use"), str(error))
            return None
        shared, inner = None, None
        if common is not None:
            own = {name: settings.pop(name) for name in options(common) if name in settings}
            shared = self._load(common, own, path, foreign=False)
        if isinstance(component, ProviderWrapper):
            inner = self._one(offers, settings.pop("provider", {}), at(path, "provider"))
        return Selected(path, component.name, component, self._load(component.schema, settings, path), shared, inner)

    def _several(self, offers: Offers[C], node: Any, path: str, least: int = 1) -> tuple[Selected[C], ...]:
        if node is MISSING:
            return ()
        if not isinstance(node, list) or len(node) < least:
            self._problems.add(path, f"must be a list{' of one or more' if least else ''}, such as [{{use: name}}]")
            return ()
        found = [self._one(offers, child, at(path, n), COMMON.get(path)) for n, child in enumerate(node)]
        return tuple([selected for selected in found if selected is not None])

    def _once(self, selected: Sequence[Selected[C]], what: str) -> None:
        for n, one in enumerate(selected):
            if any(one.name == other.name for other in selected[:n]):
                self._problems.add(one.path, f"the {what} {one.name} is listed twice")

    def _named(
        self, offers: Offers[C], node: Any, path: str, what: str, least: int = 1
    ) -> tuple[dict[str, Selected[C]], Sequence[str]]:
        """Components under names of the deployer's choice, and the names that are configured, well or badly."""
        if node is MISSING:
            return {}, ()
        if not isinstance(node, dict) or len(node) < least:
            kind = "is required: a mapping" if least else "must be a mapping"
            example = next(iter(sorted(offers)), "...")
            self._problems.add(path, f"{kind} of names, such as {{local: {{use: {example}}}}}")
            return {}, ()
        found: dict[str, Selected[C]] = {}
        for name, child in node.items():
            place = at(path, name)
            if not _NAME.fullmatch(name):
                self._problems.add(place, f"the name of a {what} has small letters, digits, '-' and '_' only")
            if name == "default":
                self._problems.add(place, f"this name is reserved: it stands for the default {what}")
            selected = self._one(offers, child, place, COMMON.get(path))
            if selected is not None:
                found[name] = selected
        return found, list(node)

    def _extractors(self) -> Mapping[str, Extractor]:
        try:
            return by_suffix(self._plugins.extractors.values())
        except ConfigError as error:
            self._problems.add("documents", str(error))
            return {}

    def _default_provider(self, node: Any, names: Sequence[str]) -> str | None:
        if node is None:
            return names[0] if names else None
        return self._configured(node, names, "default_provider")

    def _fallback(self, node: Any, names: Sequence[str]) -> tuple[str, ...]:
        if node is MISSING:
            return ()
        if not isinstance(node, list):
            self._problems.add("fallback", "must be a list of provider names")
            return ()
        found = [self._configured(child, names, at("fallback", n)) for n, child in enumerate(node)]
        return tuple(dict.fromkeys([name for name in found if name is not None]))

    def _configured(self, node: Any, names: Sequence[str], path: str) -> str | None:
        if node is MISSING:
            return None
        if isinstance(node, str) and node in names:
            return node
        shown = repr(node) if isinstance(node, str) else "this"
        self._problems.add(path, f"{shown} is not a configured provider; there are: {', '.join(names) or 'none'}")
        return None

    def _load(self, schema: Any, node: Any, path: str, *, foreign: bool = True) -> Any:
        """What the schema makes of the section; None when it has problems. A foreign one's words may repeat a value."""
        if node is MISSING:
            return None
        if not isinstance(node, dict):
            self._problems.add(path, "must be a mapping of options")
            return None
        try:
            return schema.load(_resolved(node))
        except ValidationError as error:
            unresolved = any(line.startswith((path + ".", path + "[")) for line in self._told)
            for keys, text in told(error.messages, schema, ()):
                where = path
                for key in keys:
                    where = at(where, key)
                # The fault is the reference's, which is told: a rule over several options may well miss its value.
                if where in self._told or (where == path and unresolved):
                    continue
                self._problems.add(where, without(text, _value_at(node, keys)) if foreign else text)
            return None


def _resolved(node: Any) -> Any:
    """The node without what could not be resolved."""
    if isinstance(node, dict):
        return {key: _resolved(child) for key, child in node.items() if child is not MISSING}
    if isinstance(node, list):
        return [_resolved(child) for child in node if child is not MISSING]
    return node


def _value_at(node: Any, keys: Keys) -> Any:
    for key in keys:
        try:
            node = node[key]
        except (LookupError, TypeError):
            return None
    return node
