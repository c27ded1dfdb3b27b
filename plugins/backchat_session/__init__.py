"""The ``session`` authenticator: access tokens that this server hands out at a login."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.ports.auth import AuthenticatorBackend
from backchat.ports.component import Component
from backchat_session.authenticator import SettingsSchema, open_session


@hookimpl
def backchat_authenticators() -> Sequence[AuthenticatorBackend]:
    return [Component("session", SettingsSchema(), open_session)]
