"""marshmallow fields that schemas share; schemas themselves are never shared between dialects."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields

from backchat.web.multipart import Upload

DEPTH = 32


class Whole(fields.Integer):
    """An integer; 8080.5 is none, and the text of an environment variable may be one."""

    def _validated(self, value: Any) -> int:
        if isinstance(value, float):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class Uploads(fields.Field[tuple[Upload, ...]]):
    """The files of one name in a multipart form, ``most`` of them; an empty tuple if there are none."""

    def __init__(self, *, most: int | None = None, **kwargs: Any) -> None:
        files: dict[str, Any] = {"type": "array", "items": {"type": "string", "format": "binary"}}
        if most is not None:
            files["maxItems"] = most
        if not kwargs.get("required"):
            kwargs["load_default"] = ()
        super().__init__(**{**kwargs, "metadata": {**files, **kwargs.get("metadata", {})}})
        self._most = most

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[Upload, ...]:
        if value == []:  # none, said in JSON
            return ()
        if not isinstance(value, tuple):  # which only a form has
            raise ValidationError("Send files in a multipart/form-data body, with a filename each.")
        if self._most is not None and len(value) > self._most:
            raise ValidationError(f"At most {self._most} file(s).")
        return value


def too_deep(value: Any) -> bool:
    """Whether JSON is nested deeper than ``DEPTH``: what is stored inside something else must fit every serialiser."""
    level = [value]
    for _ in range(DEPTH):
        level = [
            inner for v in level if isinstance(v, dict | list) for inner in (v.values() if isinstance(v, dict) else v)
        ]
    return any(isinstance(v, dict | list) for v in level)
