"""Tools that a model may call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A tool the model may call. ``parameters`` is a JSON schema of type object; ``strict`` asks to keep to it."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    strict: bool | None = None
