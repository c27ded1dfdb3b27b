"""The typed face of pluggy: nothing else touches ``pm.hook``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol, TypeVar

import pluggy

from backchat import hookspecs
from backchat.domain.rights import Action, Standing, allowed
from backchat.errors import ConfigError

if TYPE_CHECKING:
    from backchat.domain.conversation import Conversation
    from backchat.domain.identity import Identity
    from backchat.domain.workspace import Workspace
    from backchat.ports.agents import AgentBackend
    from backchat.ports.auth import AuthenticatorBackend
    from backchat.ports.embedding import EmbedderBackend
    from backchat.ports.extraction import Extractor
    from backchat.ports.importing import Importer
    from backchat.ports.learning import LearnerBackend
    from backchat.ports.memory import MemoryBackend
    from backchat.ports.providers import ProviderBackend, ProviderWrapper
    from backchat.ports.storage import StorageBackend
    from backchat.ports.tools import ToolBackend
    from backchat.ports.transcription import TranscriberBackend
    from backchat.web.dialect import Dialect

GROUP = "backchat"


class _Core:
    """The core's own answer to the one hook that is asked per request: the table."""

    @staticmethod
    @hookspecs.hookimpl(trylast=True)
    def backchat_authorize(action: Action, standing: Standing) -> bool:
        return allowed(action, standing)


class Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)
Installed = tuple[str, object, str]
"""An entry point's name, the plugin that it names, and the version of what it came with."""


@cache
def installed() -> Sequence[Installed]:
    """The plugins of all entry points, by name. Looked up once: what is installed stays the same while a process runs.

    Raises ConfigError for one that cannot be imported.
    """
    versions: dict[object, str] = {}  # to read one again for each entry point would be most of the work
    found: list[Installed] = []
    for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name):
        try:  # not pluggy's own loader: a plugin that fails to import must be named in the message
            plugin = entry.load()
        except Exception as error:
            raise ConfigError(f"plugin {entry.name} ({entry.value}) cannot be imported: {error}") from error
        if entry.dist not in versions:
            versions[entry.dist] = entry.dist.version if entry.dist else "unknown"
        found.append((entry.name, plugin, versions[entry.dist]))
    return found


class Offers(dict[str, N]):
    """What plugins offer for one hook, by name. Raises ConfigError when two offer the same name."""

    def __init__(self, what: str, offered: Iterable[tuple[str, Sequence[N]]]) -> None:
        super().__init__()
        self.what = what
        self.plugin_of: dict[str, str] = {}
        for plugin, components in offered:
            for component in components:
                if component.name in self:
                    other = self.plugin_of[component.name]
                    raise ConfigError(f"two plugins offer the {what} {component.name!r}: {other} and {plugin}")
                self[component.name] = component
                self.plugin_of[component.name] = plugin

    def pick(self, name: object) -> N:
        """The component of that name; ConfigError lists the names there are."""
        if isinstance(name, str) and name in self:
            return self[name]
        raise ConfigError(f"unknown {self.what} {name!r}; installed: {', '.join(sorted(self)) or 'none'}")


class Plugins:
    """The plugins of one app, and what they offer. Not global: every app and every test makes its own."""

    def __init__(self, modules: Iterable[object] = (), *, from_entry_points: bool = False) -> None:
        self._pm = pluggy.PluginManager(GROUP)
        self._pm.add_hookspecs(hookspecs)
        self.versions: dict[str, str] = {}
        self._register(_Core, "core")
        if from_entry_points:
            for name, plugin, version in installed():
                self._register(plugin, name)
                self.versions[name] = version
        for module in modules:
            self._register(module, getattr(module, "__name__", repr(module)))
        try:
            self._pm.check_pending()
        except pluggy.PluginValidationError as error:
            raise ConfigError(f"plugin {self._name(error.plugin)}: {error}") from error
        self.storages: Offers[StorageBackend] = self._collect("storage", "backchat_storages")
        self.providers: Offers[ProviderBackend | ProviderWrapper] = self._collect("provider", "backchat_providers")
        self.memories: Offers[MemoryBackend] = self._collect("memory strategy", "backchat_memories")
        self.learners: Offers[LearnerBackend] = self._collect("learner", "backchat_learners")
        self.embedders: Offers[EmbedderBackend] = self._collect("embedder", "backchat_embedders")
        self.extractors: Offers[Extractor] = self._collect("extractor", "backchat_extractors")
        self.importers: Offers[Importer] = self._collect("importer", "backchat_importers")
        self.authenticators: Offers[AuthenticatorBackend] = self._collect("authenticator", "backchat_authenticators")
        self.dialects: Offers[Dialect] = self._collect("dialect", "backchat_dialects")
        self.tools: Offers[ToolBackend] = self._collect("tool", "backchat_tools")
        self.agents: Offers[AgentBackend] = self._collect("agent", "backchat_agents")
        self.transcribers: Offers[TranscriberBackend] = self._collect("transcriber", "backchat_transcribers")

    @property
    def offers(self) -> Sequence[Offers[Named]]:
        """Everything on offer, one entry for each hook."""
        return (  # type: ignore[return-value]
            self.storages,
            self.providers,
            self.memories,
            self.learners,
            self.embedders,
            self.extractors,
            self.importers,
            self.authenticators,
            self.dialects,
            self.tools,
            self.agents,
            self.transcribers,
        )

    def authorize(self, who: Identity, action: Action, standing: Standing, thing: Conversation | Workspace) -> bool:
        """What the plugins say to a request, else the table of the core."""
        hook = self._pm.hook.backchat_authorize
        return bool(hook(who=who, action=action, standing=standing, thing=thing))

    def _register(self, plugin: object, name: str) -> None:
        try:
            self._pm.register(plugin, name)
        except (ValueError, pluggy.PluginValidationError) as error:
            raise ConfigError(f"plugin {name}: {error}") from error

    def _name(self, plugin: object) -> str:
        return self._pm.get_name(plugin) or repr(plugin)

    def _collect(self, what: str, hook: str) -> Offers[N]:
        caller = getattr(self._pm.hook, hook)
        found = [(i.plugin_name, i.function()) for i in caller.get_hookimpls()]
        return Offers(what, sorted(found, key=lambda pair: pair[0]))
