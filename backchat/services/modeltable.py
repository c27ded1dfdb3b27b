"""What is known of the usual services' models: ``models.json`` beside this file, made by ``tools/modeltable.py``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any

import orjson

_SERVICES = {"google": "gemini", "claude": "anthropic"}
_VENDORS = {"google": "gemini", "mistralai": "mistral", "x-ai": "xai", "moonshotai": "moonshot", "z-ai": "zai"}
_RESELLERS = frozenset({"openrouter"})
"""Services whose model names begin with the vendor, and whose list prices are the vendor's."""
_PRICES = frozenset({"price", "cached_price", "cache_write_price", "image_price", "output_price", "minute_price"})


@dataclass(frozen=True, slots=True)
class ModelTable:
    """``rows`` by ``service/model`` in lower case; ``bare`` the same by the model alone, its maker's row first."""

    as_of: date
    rows: Mapping[str, Mapping[str, Any]]
    bare: Mapping[str, Mapping[str, Any]]

    def find(self, service: str, model: str) -> Mapping[str, Any]:
        """What is known of a service's model: its mode if it is not one that talks, and fields of ``ModelInfo``.

        Prices only if they are this service's: a model of the same name elsewhere has its abilities, not its price.
        """
        name = model.lower().removeprefix("models/")
        own = self.rows.get(f"{_SERVICES.get(service, service)}/{name}")
        if own is not None:
            return own
        vendor, _, rest = name.partition("/")
        if vendor == "anthropic":  # whose own names have dashes where resellers have dots
            rest = rest.replace(".", "-")
        makers = self.rows.get(f"{_VENDORS.get(vendor, vendor)}/{rest}")
        if makers is not None:
            return _elsewhere(makers, priced=service in _RESELLERS)
        last = name.rsplit("/", 1)[-1]
        return _elsewhere(self.bare.get(last) or self.bare.get(last.partition(":")[0]) or {})


def _elsewhere(row: Mapping[str, Any], *, priced: bool = False) -> Mapping[str, Any]:
    """What a row says of the same model at another service, which may well offer it through this API."""
    return {
        name: value
        for name, value in row.items()
        if (priced or name not in _PRICES) and (name, value) != ("mode", "responses")
    }


@cache
def model_table() -> ModelTable:
    """The packaged table. Reads the file at its first call: not on the event loop."""
    table = orjson.loads(files(__package__).joinpath("models.json").read_bytes())
    bare: dict[str, Mapping[str, Any]] = {}
    for key, row in table["models"].items():
        bare.setdefault(key.rsplit("/", 1)[-1], row)
    return ModelTable(date.fromisoformat(table["date"]), table["models"], bare)
