"""What can be set for the vault dialect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import RAISE, Schema, post_load

from backchat.web.limiting import Budget, Rate

LATER = "too many requests: try again later"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Rates such as ``60/minute``; None for no limit."""

    push_per_user: str | None
    pull_per_user: str | None
    keys_per_user: str | None


def _rate(description: str, default: str | None = None) -> Rate:
    shown = "`off`" if default is None else f"`{default}`"
    return Rate(load_default=default, metadata={"default": shown, "description": description})


class SettingsSchema(Schema):
    class Meta:
        unknown = RAISE

    push_per_user = _rate("Pushes of one user, such as `60/minute`.")
    pull_per_user = _rate("Pulls of one user, and readings of single entries and versions, together.")
    keys_per_user = _rate("Changes of keys and tokens by one user: rotations and the like, together.", "60/hour")

    @post_load
    def freeze(self, data: dict[str, Any], **_: object) -> Settings:
        return Settings(**data)


def pushes(settings: Settings) -> Budget:
    return Budget(name="vault.push", user=settings.push_per_user, message=LATER)


def keys(settings: Settings) -> Budget:
    return Budget(name="vault.keys", user=settings.keys_per_user, message=LATER)


def pulls(settings: Settings) -> Budget:
    return Budget(name="vault.pull", user=settings.pull_per_user, message=LATER)
