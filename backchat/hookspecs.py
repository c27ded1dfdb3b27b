"""Every hook backchat calls. All are synchronous, run once while the app is built, and return descriptors.

Hooks that run per request are deliberately absent: what runs per request is an object behind a port, opened from a
descriptor. Two plugins that offer the same name for the same hook stop the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from backchat.ports.auth import AuthenticatorBackend
    from backchat.ports.memory import MemoryBackend
    from backchat.ports.providers import ProviderBackend
    from backchat.ports.storage import StorageBackend
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
def backchat_providers() -> Sequence[ProviderBackend]:
    """Offer LLM providers.

    Called once, before anything is opened. Return one ``ProviderBackend`` for each protocol or preset; every entry of
    the config's ``providers`` picks one with ``use``, so that one backend may be opened several times with different
    settings. ``open(settings)`` yields an ``LLMProvider``. Test yours by subclassing
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
def backchat_authenticators() -> Sequence[AuthenticatorBackend]:
    """Offer ways to tell who is calling.

    Called once, before anything is opened. Return one ``AuthenticatorBackend`` for each scheme; the config's ``auth``
    list says which are used and in which order they are asked. ``open(settings, keys)`` yields an ``Authenticator``;
    ``keys`` looks API keys up. The first that does not answer None decides.
    """
    raise NotImplementedError


@hookspec
def backchat_dialects() -> Sequence[Dialect]:
    """Offer dialects: sets of routes with shapes of their own over the shared services.

    Called once, before anything is opened. Return one ``Dialect`` for each; the config's ``dialects`` list says which
    are mounted. A route whose method and path another dialect already serves stops the start.
    """
    raise NotImplementedError
