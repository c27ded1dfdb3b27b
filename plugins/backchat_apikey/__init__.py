"""The ``apikey`` authenticator: keys that ``backchat keys create`` hands out."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.ports.auth import AuthenticatorBackend
from backchat.ports.component import Component
from backchat_apikey.authenticator import SettingsSchema, open_apikey


@hookimpl
def backchat_authenticators() -> Sequence[AuthenticatorBackend]:
    return [Component("apikey", SettingsSchema(), open_apikey)]
