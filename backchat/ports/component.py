"""A component: a named thing a plugin offers, with the schema of its config section and a way to open it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

O_co = TypeVar("O_co", covariant=True)


class SettingsSchema(Protocol):
    """The schema of a config section: any marshmallow ``Schema`` instance with ``unknown = RAISE``.

    Every field carries ``metadata={"description": ...}``; ``docs/configuration.md`` is generated from it.
    """

    @property
    def fields(self) -> Any: ...

    def load(self, data: Any) -> Any:
        """Return the checked settings; raise ``marshmallow.ValidationError``."""
        ...


@dataclass(frozen=True, slots=True)
class Component(Generic[O_co]):
    """Offer something under a name that the config selects with ``use: <name>``.

    ``open`` returns an async context manager of the opened thing; its arguments depend on the hook (see
    ``docs/hooks.md``), the first is always what ``schema.load`` returned. Import drivers inside it: ``extra`` names the
    packaging extra of backchat to install when that import fails; one with a ``[`` is a whole requirement, such as
    ``backchat-mine[fast]``.
    """

    name: str
    schema: SettingsSchema
    open: O_co
    extra: str | None = None


Section = Mapping[str, Any]
