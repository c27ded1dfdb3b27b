"""The ``jwt`` authenticator: signed tokens that another service hands out."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.ports.auth import AuthenticatorBackend
from backchat.ports.component import Component
from backchat_jwt.authenticator import open_jwt
from backchat_jwt.settings import SettingsSchema


@hookimpl
def backchat_authenticators() -> Sequence[AuthenticatorBackend]:
    return [Component("jwt", SettingsSchema(), open_jwt)]
