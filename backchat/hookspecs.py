"""Every hook backchat calls. All are synchronous; all but one run once while the app is built, and return descriptors.

What runs per request is an object behind a port, opened from a descriptor; the one exception is
``backchat_authorize``, which is pure. Two plugins that offer the same name for the same hook stop the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from backchat.domain.conversation import Conversation
    from backchat.domain.identity import Identity
    from backchat.domain.rights import Action, Standing
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

hookspec = pluggy.HookspecMarker("backchat")
hookimpl = pluggy.HookimplMarker("backchat")


@hookspec
def backchat_storages() -> Sequence[StorageBackend]:
    """Offer storage backends.

    Called once, before anything is opened. Return one ``StorageBackend`` for each backend; the config picks exactly one
    with ``storage.use``. Do no I/O here: ``open(settings, kinds, on_commit)`` opens files and connections.
    Test yours by subclassing ``backchat.testing.storage.StorageContract``.
    """
    raise NotImplementedError


@hookspec
def backchat_providers() -> Sequence[ProviderBackend | ProviderWrapper]:
    """Offer LLM providers.

    Called once, before anything is opened. Return one ``ProviderBackend`` for each protocol or preset; every entry of
    the config's ``providers`` picks one with ``use``, so that one backend may be opened several times with different
    settings. ``open(settings)`` yields an ``LLMProvider``. A ``ProviderWrapper`` is one that asks another provider,
    whose section is under ``provider`` in its own: ``open(settings, inner)``. Test yours by subclassing
    ``backchat.testing.provider.ProviderContract``.
    """
    raise NotImplementedError


@hookspec
def backchat_memories() -> Sequence[MemoryBackend]:
    """Offer memory strategies: which past messages a prompt shows.

    Called once, before anything is opened. Return one ``MemoryBackend`` for each strategy; the config picks one with
    ``memory.use``. ``open(settings)`` yields a ``MemoryStrategy``, which sees a conversation through ``History`` only.
    """
    raise NotImplementedError


@hookspec
def backchat_learners() -> Sequence[LearnerBackend]:
    """Offer ways to learn: what is remembered of what a user said, for later conversations.

    Called once, before anything is opened. Return one ``LearnerBackend`` for each; the config picks one with
    ``learning.use``. ``open(settings)`` yields a ``Learner``, which sees the user's own words of one turn at a time.
    Test yours by subclassing ``backchat.testing.learning.LearnerContract``.
    """
    raise NotImplementedError


@hookspec
def backchat_embedders() -> Sequence[EmbedderBackend]:
    """Offer embedding models, for documents and memories that are found by meaning.

    Called once, before anything is opened. Return one ``EmbedderBackend`` for each; every entry of the config's
    ``embedders`` picks one with ``use``. ``open(settings)`` yields an ``Embedder``. Test yours by subclassing
    ``backchat.testing.embedding.EmbedderContract``.
    """
    raise NotImplementedError


@hookspec
def backchat_extractors() -> Sequence[Extractor]:
    """Offer the text of files.

    Called once, before anything is opened. Return one ``Extractor`` for each library; all are used, by the ends of file
    names. Two that claim the same one stop the start. The function they point to is imported and called in a process
    of its own that has limits on time and memory, never in the server.
    """
    raise NotImplementedError


@hookspec
def backchat_importers() -> Sequence[Importer]:
    """Offer ways to read the conversations that another product has exported.

    Called once, before anything is opened. Return one ``Importer`` for each product; all are used, and asked in the
    order of their names which of them knows a file. Test yours by subclassing
    ``backchat.testing.importing.ImporterContract``.
    """
    raise NotImplementedError


@hookspec
def backchat_authenticators() -> Sequence[AuthenticatorBackend]:
    """Offer ways to tell who is calling.

    Called once, before anything is opened. Return one ``AuthenticatorBackend`` for each scheme; the config's ``auth``
    list says which are used and in which order they are asked. ``open(settings, keys)`` yields an ``Authenticator``;
    ``keys`` looks API keys and sessions up. The first that does not answer None decides.
    """
    raise NotImplementedError


@hookspec
def backchat_dialects() -> Sequence[Dialect]:
    """Offer dialects: sets of routes with shapes of their own over the shared services.

    Called once, before anything is opened. Return one ``Dialect`` for each; the config's ``dialects`` list says which
    are mounted. A route whose method and path another dialect already serves stops the start.
    """
    raise NotImplementedError


@hookspec
def backchat_tools() -> Sequence[ToolBackend]:
    """Offer tools that the server runs when a model calls for them.

    Called once, before anything is opened. Return one ``ToolBackend`` for each source of tools; the config's ``tools``
    list says which are used. ``open(settings)`` yields the ``Tool`` objects of the source; no two tools of a server may
    have the same name. Test yours by subclassing ``backchat.testing.tool.ToolContract``.
    """
    raise NotImplementedError


@hookspec
def backchat_agents() -> Sequence[AgentBackend]:
    """Offer agents: who decides what a reply is made of.

    Called once, before anything is opened. Return one ``AgentBackend`` for each framework; the config's ``agents`` list
    says which can be chosen, beside ``none``, the server's own loop. ``open(settings)`` yields an ``Agent``, which gets
    the model and the tools through an ``AgentTurn``. Test yours by subclassing
    ``backchat.testing.agent.AgentContract``.
    """
    raise NotImplementedError


@hookspec
def backchat_transcribers() -> Sequence[TranscriberBackend]:
    """Offer ways to turn sound into text.

    Called once, before anything is opened. Return one ``TranscriberBackend`` for each protocol or engine; the config
    picks one with ``transcription.use``, or none. ``open(settings)`` yields a ``Transcriber``. Test yours by
    subclassing ``backchat.testing.transcription.TranscriberContract``.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def backchat_authorize(
    who: Identity, action: Action, standing: Standing, thing: Conversation | Workspace
) -> bool | None:
    """Say whether somebody may do something.

    Called for every request, in every dialect, about a conversation or a workspace. Return True or False, or None to
    have no opinion. It must be quick and do no I/O. ``standing`` is what the caller is to the thing, by what is stored
    at this moment; what actions and standings mean, and the answers of the core, are in ``backchat.domain.rights``. The
    first plugin that does not answer None decides; the core's own table comes last. Who may not ``read`` a
    conversation, or ``enter`` a workspace, is told that there is none.
    """
    raise NotImplementedError
