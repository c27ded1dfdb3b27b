"""What can be set for the convos dialect: how often its costly routes may be called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import RAISE, Schema, post_load

from backchat.web.limiting import Budget, Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Rates such as ``7/minute``; None for no limit."""

    fork_per_address: str | None
    fork_per_user: str | None
    import_per_address: str | None
    import_per_user: str | None
    login_per_address: str | None
    share_per_address: str | None


def _rate(default: str, description: str) -> Rate:
    return Rate(load_default=default, metadata={"default": f"`{default}`", "description": description})


class SettingsSchema(Schema):
    class Meta:
        unknown = RAISE

    fork_per_address = _rate("30/minute", "Forks, duplicates and copies of shared conversations from one address.")
    fork_per_user = _rate("7/minute", "The same of one user.")
    import_per_address = _rate("100 per 15 minutes", "Imports from one address.")
    import_per_user = _rate("50 per 15 minutes", "Imports of one user.")
    login_per_address = _rate("7 per 5 minutes", "Logins from one address, right and wrong ones.")
    share_per_address = _rate("60/minute", "Reading of shared conversations from one address, without an account.")

    @post_load
    def freeze(self, data: dict[str, Any], **_: object) -> Settings:
        return Settings(**data)


def forks(settings: Settings) -> Budget:
    return Budget(
        name="convos.fork",
        address=settings.fork_per_address,
        user=settings.fork_per_user,
        message="Too many requests. Try again later",
    )


def imports(settings: Settings) -> Budget:
    return Budget(
        name="convos.import",
        address=settings.import_per_address,
        user=settings.import_per_user,
        message="Too many conversation import requests. Try again later",
    )


def shared(settings: Settings) -> Budget:
    return Budget(name="convos.share", address=settings.share_per_address, message="Too many requests. Try again later")


def logins(settings: Settings) -> Budget:
    return Budget(
        name="convos.login",
        address=settings.login_per_address,
        message="Too many login attempts, please try again after 5 minutes.",
    )
