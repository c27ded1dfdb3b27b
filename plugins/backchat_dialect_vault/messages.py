"""The messages of a body: up to ten thousand, looked at one by one without a schema for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields

from backchat.domain.vault import MESSAGES_MAX, ROLES, VaultMessage
from backchat.sealing.timestamps import is_timestamp
from backchat_dialect_vault.fields import NULL, REQUIRED, Problems

_ROLE = f"Must be one of: {', '.join(ROLES)}."
_TIMESTAMP = "Must be an RFC 3339 date-time with an offset or Z."
_SHAPE: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "maxItems": MESSAGES_MAX,
    "items": {
        "type": "object",
        "required": ["role", "content"],
        "properties": {
            "role": {"type": "string", "enum": list(ROLES)},
            "content": {"type": "string", "description": "It may be empty."},
            "timestamp": {
                "type": "string",
                "format": "date-time",
                "nullable": True,
                "description": "With an offset or Z. It is kept letter for letter.",
            },
        },
    },
}


class Messages(fields.Field[tuple[VaultMessage, ...]]):
    """The full list, 1 to ``MESSAGES_MAX`` of them. Unknown fields of a message are dropped."""

    def __init__(self, description: str, **more: Any) -> None:
        metadata = {**_SHAPE, "description": description}
        super().__init__(**more, error_messages={"required": REQUIRED, "null": NULL}, metadata=metadata)

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any
    ) -> tuple[VaultMessage, ...]:
        if not isinstance(value, list):
            raise ValidationError("Must be a list.")
        if not 1 <= len(value) <= MESSAGES_MAX:
            raise ValidationError(f"Must be 1 to {MESSAGES_MAX} messages.")
        problems = Problems()
        found = []
        for i, given in enumerate(value):
            wrong = _wrong(given)
            if wrong:
                problems.add(i, wrong)
            else:
                found.append(VaultMessage(given["role"], given["content"], given.get("timestamp")))
        problems.report()
        return tuple(found)


def _wrong(given: Any) -> dict[str, list[str]] | list[str]:
    """What does not fit of one message, by its fields; empty if it is one."""
    if not isinstance(given, dict):
        return ["Must be an object."]
    wrong: dict[str, list[str]] = {}
    role, content, timestamp = given.get("role"), given.get("content"), given.get("timestamp")
    if not isinstance(role, str) or role not in ROLES:
        wrong["role"] = [_ROLE if "role" in given else REQUIRED]
    if not isinstance(content, str):
        wrong["content"] = ["Must be a text." if "content" in given else REQUIRED]
    if timestamp is not None and not (isinstance(timestamp, str) and is_timestamp(timestamp)):
        wrong["timestamp"] = [_TIMESTAMP]
    return wrong
