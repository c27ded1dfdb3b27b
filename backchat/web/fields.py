"""marshmallow fields that schemas share; schemas themselves are never shared between dialects."""

from __future__ import annotations

from typing import Any

from marshmallow import fields


class Whole(fields.Integer):
    """An integer; 8080.5 is none, and the text of an environment variable may be one."""

    def _validated(self, value: Any) -> int:
        if isinstance(value, float):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)
