"""Settings of the providers ``record`` and ``replay``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marshmallow import RAISE, Schema, fields, post_load, validate


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSettings:
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySettings:
    path: Path
    model: str | None = None
    timing: bool = False
    vision: bool = True
    tools: bool = True
    reasoning: bool = True
    json_output: bool = True
    files: frozenset[str] = frozenset()
    instructions: bool = True


class RecordSchema(Schema):
    class Meta:
        unknown = RAISE

    path = fields.String(
        required=True,
        validate=validate.Length(min=1),
        metadata={
            "description": "The directory for the recordings, a file for each answer. It is made if it is missing, "
            "readable by its owner only."
        },
    )

    @post_load
    def freeze(self, data: Mapping[str, Any], **_: object) -> RecordSettings:
        return RecordSettings(path=Path(data["path"]))


class ReplaySchema(Schema):
    class Meta:
        unknown = RAISE

    path = fields.String(
        required=True,
        validate=validate.Length(min=1),
        metadata={"description": "The directory with the recordings. New ones in it are found while the server runs."},
    )
    model = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.Length(min=1),
        metadata={
            "description": "Name of the model it claims to be, in place of the one that was recorded. Unset: that of "
            "the oldest recording."
        },
    )
    timing = fields.Boolean(
        load_default=False,
        metadata={"description": "Whether it takes as long as the recorded answer took, from piece to piece."},
    )
    vision = fields.Boolean(load_default=True, metadata={"description": "Whether it accepts images."})
    tools = fields.Boolean(load_default=True, metadata={"description": "Whether it accepts tools."})
    reasoning = fields.Boolean(load_default=True, metadata={"description": "Whether it can be told to think."})
    json_output = fields.Boolean(load_default=True, metadata={"description": "Whether it can be asked for JSON."})
    files = fields.List(
        fields.String(validate=validate.Length(min=1)),
        load_default=list,
        metadata={"description": "MIME types of the documents that it accepts, as those of the recorded provider."},
    )
    instructions = fields.Boolean(
        load_default=True,
        metadata={"description": "Whether it is asked what only a model can answer that does what it is told."},
    )

    @post_load
    def freeze(self, data: Mapping[str, Any], **_: object) -> ReplaySettings:
        return ReplaySettings(**{**data, "path": Path(data["path"]), "files": frozenset(data["files"])})
