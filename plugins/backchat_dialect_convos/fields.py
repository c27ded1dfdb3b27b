"""Fields of this dialect's schemas: what they refuse reads on after the name of the field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, pre_load, validate
from marshmallow import missing as absent

from backchat.web.fields import DEPTH, too_deep

RATINGS = ("thumbsUp", "thumbsDown")
_INTEGER = re.compile(r"\s*([+-]?\d{1,18})", re.ASCII)


class Lenient(Schema):
    """Unknown fields are ignored."""

    class Meta:
        unknown = EXCLUDE


def wrapped(inner: Schema, *, required: bool = True) -> Schema:
    """A body with its payload in ``arg``, as the clients send it. Anything but an object there is an empty one.

    Unless it is ``required``, so is no body at all.
    """

    class Wrapped(Lenient):
        arg = fields.Nested(inner, required=required)

        @pre_load
        def unwrap(self, data: Any, **_: Any) -> dict[str, Any]:
            arg = data.get("arg") if isinstance(data, dict) else None
            return {"arg": arg if isinstance(arg, dict) else {}}

    Wrapped.__name__ = f"{type(inner).__name__.removesuffix('Schema')}ArgSchema"
    return Wrapped()


def _words(what: str) -> dict[str, Any]:
    wrong = f"must be {what}"
    return {"required": "is required", "null": "is required", "invalid": wrong}


def needed(description: str = "", **messages: str) -> fields.String:
    """A text that must be there, and not be empty."""
    return fields.String(
        required=True,
        error_messages={**_words("a string"), **messages},
        validate=validate.Length(min=1, error=messages.get("required", "is required")),
        metadata={"description": description} if description else {},
    )


def plain(description: str = "", default: str | None = None, **more: Any) -> fields.String:
    """A text that may be missing or null."""
    return fields.String(
        load_default=default,
        allow_none=True,
        error_messages=_words("a string"),
        metadata={"description": description},
        **more,
    )


class Switch(fields.Boolean):
    """true or false, and nothing that reads like it. Where it may be missing, null is as good as that."""

    def __init__(self, *, missing: str | None = None, **kwargs: Any) -> None:
        if missing is not None:
            kwargs["required"] = True
        words = _words("a boolean")
        super().__init__(
            **kwargs, error_messages={**words, "null": words["invalid"], "required": missing or words["required"]}
        )

    def deserialize(self, value: Any, attr: str | None = None, data: Mapping[str, Any] | None = None, **_: Any) -> Any:
        return super().deserialize(absent if value is None and not self.required else value, attr, data)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Flag(fields.Boolean):
    """In a query string: the word true, in any case, is true, and everything else is not."""

    def __init__(self, description: str) -> None:
        super().__init__(load_default=False, metadata={"description": description})

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> bool:
        return str(value).lower() == "true"


class Count(fields.Integer):
    """How many a page shows: the number that the text begins with. Without one, or with 0, the default."""

    def __init__(self, default: int, most: int) -> None:
        self._default, self._most = default, most
        super().__init__(load_default=default, metadata={"description": "How many.", "minimum": 1, "maximum": most})

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> int:
        found = _INTEGER.match(str(value))
        number = int(found[1]) if found else 0
        return min(max(number, 1), self._most) if number else self._default


class Json(fields.Field[Any]):
    """Any JSON value that is not nested deeper than what is stored inside something else may be."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> Any:
        if too_deep(value):
            raise ValidationError(f"is nested deeper than {DEPTH}")
        return value


class Feedback(Json):
    """``{"rating": "thumbsUp" | "thumbsDown", ...}``, or null."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **more: Any) -> Any:
        if not isinstance(value, dict) or value.get("rating") not in RATINGS:
            raise ValidationError(f"must be null, or have a rating that is one of {', '.join(RATINGS)}")
        return super()._deserialize(value, attr, data, **more)


class Sort(fields.String):
    """One of some words; none, or an empty one, is the first. Another one is refused, or the first unless strict."""

    def __init__(self, *names: str, strict: bool = True) -> None:
        self._names, self._strict = names, strict
        super().__init__(load_default=names[0], metadata={"enum": list(names)})

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> str:
        if not value or (value not in self._names and not self._strict):
            return self._names[0]
        if value not in self._names:
            raise ValidationError(f"must be one of {', '.join(self._names)}")
        return str(value)


class Direction(fields.Boolean):
    """``asc`` in a query string is false; anything else is descending, so true."""

    def __init__(self) -> None:
        super().__init__(load_default=True, metadata={"type": "string", "enum": ["desc", "asc"], "default": "desc"})

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> bool:
        return bool(value != "asc")
