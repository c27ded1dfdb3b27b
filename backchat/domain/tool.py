"""Tools that a model may call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A tool the model may call.

    parameters  a JSON schema of type object;  strict  asks the model to keep to it
    web         it looks things up in the web: one of those that a caller gets who asks for the web
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    strict: bool | None = None
    web: bool = False
