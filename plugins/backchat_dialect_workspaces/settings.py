"""What can be set for the workspaces dialect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import RAISE, Schema, fields, post_load

from backchat.web.limiting import Budget, Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``async_agents``: messages are answered with a task, unless the request says otherwise. Rates such as
    ``7/minute``; None for no limit.
    """

    async_agents: bool
    login_per_address: str | None
    share_per_address: str | None
    transcribe_per_user: str | None


def _rate(default: str, description: str) -> Rate:
    return Rate(load_default=default, metadata={"default": f"`{default}`", "description": description})


class SettingsSchema(Schema):
    class Meta:
        unknown = RAISE

    async_agents = fields.Boolean(
        load_default=False,
        metadata={
            "description": "Answer messages with the id of a task to be polled; `Prefer` of a request overrides."
        },
    )
    login_per_address = _rate("7 per 5 minutes", "Logins from one address, right and wrong ones.")
    share_per_address = _rate("60/minute", "Reading of public sessions from one address.")
    transcribe_per_user = _rate("30/minute", "Transcriptions of one user.")

    @post_load
    def freeze(self, data: dict[str, Any], **_: object) -> Settings:
        return Settings(**data)


def shared(settings: Settings) -> Budget:
    return Budget(
        name="workspaces.share", address=settings.share_per_address, message="Too many requests. Try again later."
    )


def logins(settings: Settings) -> Budget:
    return Budget(
        name="workspaces.login",
        address=settings.login_per_address,
        message="Too many login attempts. Try again later.",
    )


def transcriptions(settings: Settings) -> Budget:
    return Budget(
        name="workspaces.transcribe",
        user=settings.transcribe_per_user,
        message="Too many transcriptions. Try again later.",
    )
