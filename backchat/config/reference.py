"""``docs/configuration.md``, from the schemas. ``python -m backchat.config.reference`` prints it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import distribution
from typing import Any

import orjson
from marshmallow import fields, missing, validate

from backchat.config.entries import COMMON, LimitsSchema
from backchat.config.sections import OWN, SECTIONS, Configurable, options
from backchat.plugins import GROUP, Plugins
from backchat.ports.component import SettingsSchema
from backchat.ports.providers import ProviderWrapper

_INTRO = """\
# Configuration

<!-- Made from the schemas of backchat and its own plugins by `python -m backchat.config.reference`. Do not edit. -->

A configuration is one YAML file, given to `backchat serve` and checked as a whole before anything starts. `backchat
check` does only that. Unknown options and options given twice are refused. Without a file, `configs/minimal.yml` runs;
`configs/full.yml` shows every option. The sections `storage`, `memory`, `learning`, `auth` and `dialects` may be
left out, and are then those of `minimal.yml`; `providers` must be there.

A section that selects a component names it with `use` and gives its options beside that: `{use: sqlite, path: …}`. A
component that needs no options may be given by its name alone: `dialects: [chat]`. `backchat plugins` lists what is
installed.

## References

| In place of a value | Stands for |
|---|---|
| `{$env: NAME}` | The environment variable `NAME`, which must be set and not empty. |
| `{$env: NAME, default: x}` | The same, or `x` if it is not set. |
| `{$file: path}` | The text of a file, without space around it; a relative path starts at the configuration's folder. |
| `{$data: name}` | The path of `name` in the data directory. |

Keys and other secrets belong into the environment or into files. No message about a configuration repeats such a value.
"""

_KINDS: tuple[tuple[type[fields.Field[Any]], str], ...] = (
    (fields.Boolean, "true or false"),
    (fields.Integer, "integer"),
    (fields.Number, "number"),
    (fields.String, "text"),
    (fields.Dict, "mapping"),
    (fields.Nested, "mapping"),
)


def configuration_page(plugins: Plugins) -> str:
    """The page: every section, and every option of every component on offer."""
    pages: Mapping[str, Callable[[], Iterator[str]]] = {
        "storage": lambda: _components(plugins.storages.values()),
        "providers": lambda: _components(plugins.providers.values()),
        "memory": lambda: _components(plugins.memories.values()),
        "learning": lambda: _components(plugins.learners.values()),
        "embedders": lambda: _components(plugins.embedders.values()),
        "tools": lambda: _components(plugins.tools.values()),
        "agents": lambda: _components(plugins.agents.values()),
        "transcription": lambda: _components(plugins.transcribers.values()),
        "auth": lambda: _components(plugins.authenticators.values()),
        "dialects": lambda: _components(plugins.dialects.values()),
    }
    lines = [_INTRO]
    for name, description in SECTIONS:
        lines += [f"## `{name}`", "", description, ""]
        if name in COMMON:
            lines += ["Every one of them has, beside its own options:", "", *_table(COMMON[name])]
        if name == "providers":
            lines += ["Its `limits`:", "", *_table(LimitsSchema())]
        if name in OWN:
            lines += _table(OWN[name])
        elif name in pages:
            lines += pages[name]()
    return "\n".join(lines).rstrip() + "\n"


def first_party() -> Plugins:
    """The plugins that come with backchat, whatever else is installed."""
    own = distribution("backchat").entry_points.select(group=GROUP)
    return Plugins([entry.load() for entry in sorted(own, key=lambda e: e.name)])


def _components(offered: Iterable[Configurable]) -> Iterator[str]:
    for component in sorted(offered, key=lambda c: c.name):
        yield from (f"### `{component.name}`", "")
        if isinstance(component, ProviderWrapper):
            yield from ("Its `provider` is the section of the provider that it asks.", "")
        if options(component.schema):
            yield from _table(component.schema)
        else:
            yield from ("No options.", "")


def _table(schema: SettingsSchema) -> Iterator[str]:
    yield from ("| Option | Type | Default | Description |", "|---|---|---|---|")
    for name, field in options(schema).items():
        cells = (f"`{name}`", _type(field), _default(field), str(field.metadata["description"]))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _type(field: fields.Field[Any]) -> str:
    if "type" in field.metadata:
        return str(field.metadata["type"])
    for validator in field.validators:
        if isinstance(validator, validate.OneOf):
            return ", ".join(f"`{choice}`" for choice in validator.choices)
    if isinstance(field, fields.List):
        inner = _type(field.inner)
        return "list" if inner == "text" else f"list of {inner}"
    kind = next((name for cls, name in _KINDS if isinstance(field, cls)), "any value")
    return kind + "".join(_bounds(v) for v in field.validators if isinstance(v, validate.Range))


def _bounds(span: validate.Range) -> str:
    low = "" if span.min is None else f" {'from' if span.min_inclusive else 'above'} {span.min}"
    return low + ("" if span.max is None else f" {'to' if span.max_inclusive else 'below'} {span.max}")


def _default(field: fields.Field[Any]) -> str:
    if "default" in field.metadata:
        return str(field.metadata["default"])
    if field.required:
        return "required"
    value = field.load_default() if callable(field.load_default) else field.load_default
    if value is missing or value is None:
        return "unset"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"`{value}`" if isinstance(value, str) else f"`{orjson.dumps(value).decode()}`"


if __name__ == "__main__":
    sys.stdout.write(configuration_page(first_party()))
