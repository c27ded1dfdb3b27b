"""A YAML file as plain values, and its references: ``{$env: NAME}``, ``{$file: path}``, ``{$data: name}``."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from backchat.errors import ConfigError

_SECRET_LENGTH = 5
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def without(text: str, value: object) -> str:
    """A message with a value struck out of it, but not out of a longer word. Shorter ones stay: they are no secrets."""
    if not isinstance(value, str) or len(value) < _SECRET_LENGTH:
        return text
    return re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", "***", text)


@dataclass
class Problems:
    """What is wrong so far, one line each. Values that came from a reference never show in a line."""

    lines: list[str] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set, repr=False)

    def add(self, path: str, what: str) -> None:
        for secret in self.secrets:
            what = without(what, secret)
        self.lines.append(f"{path}: {what}")


def at(path: str, key: object) -> str:
    """The path of an entry: ``auth`` and 1 make ``auth[1]``, ``storage`` and ``path`` make ``storage.path``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else str(key)


class Missing:
    """Stands where a reference could not be resolved; its problem has been told."""


MISSING = Missing()


def packaged(name: str) -> str:
    """The text of a configuration that comes with backchat, such as ``minimal.yml``."""
    return files("backchat.configs").joinpath(name).read_text(encoding="utf-8")


def read(path: Path) -> str:
    """Raises ConfigError for a file that cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start})") from None


def parse(text: str, source: str) -> dict[str, Any]:
    """The mapping that a YAML text holds, references still in it.

    Raises ConfigError, with line and column, for what is not YAML, a key given twice, a key that is not text, and a tag
    that makes more than a plain value; also for an empty file and for what is not a mapping.
    """
    try:
        found = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}, line {mark.line + 1}, column {mark.column + 1}" if mark else source
        raise ConfigError(f"{where}: {_wording(error)}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{source}, line {line}: a character that YAML does not allow") from None
    if found is None:
        raise ConfigError(f"{source}: is empty")
    if not isinstance(found, dict):
        raise ConfigError(f"{source}: must be a mapping of sections, such as 'server:' and 'storage:'")
    return found


class References:
    """Resolves the references of one document. ``here`` is the folder of its file, ``data`` the data directory.

    ``used_data`` says whether anything that was resolved lies in the data directory.
    """

    def __init__(self, here: Path, data: Path, problems: Problems) -> None:
        self._here, self._data, self._problems = here, data, problems
        self.used_data = False
        self._kinds: dict[str, Callable[[str, Mapping[str, Any], str], Any]] = {
            "$env": self._env,
            "$file": self._file,
            "$data": self._in_data,
        }

    def resolve(self, node: Any, path: str) -> Any:
        """The node with its references resolved, MISSING where one cannot be; the problems know why."""
        if isinstance(node, list):
            return [self.resolve(child, at(path, n)) for n, child in enumerate(node)]
        if not isinstance(node, dict):
            return node
        kind = next((key for key in node if key.startswith("$")), None)
        if kind is None:
            return {key: self.resolve(child, at(path, key)) for key, child in node.items()}
        others = node.keys() - {kind} - ({"default"} if kind == "$env" else set())
        if kind not in self._kinds:
            return self._missing(path, f"unknown reference {kind}; there are: {', '.join(self._kinds)}")
        if others:
            return self._missing(path, f"nothing else can stand beside {kind}: {', '.join(sorted(others))}")
        if not isinstance(node[kind], str) or not node[kind]:
            return self._missing(path, f"{kind} needs a name")
        return self._kinds[kind](node[kind], node, path)

    def _missing(self, path: str, what: str) -> Missing:
        self._problems.add(path, what)
        return MISSING

    def _secret(self, value: str) -> str:
        self._problems.secrets.add(value)
        return value

    def _env(self, name: str, node: Mapping[str, Any], path: str) -> Any:
        if not _ENV_NAME.fullmatch(name):
            return self._missing(path, "$env needs the name of an environment variable, not a value")
        value = os.environ.get(name, "")
        if value:
            return self._secret(value)
        if "default" in node:
            return self.resolve(node["default"], path)
        return self._missing(path, f"the environment variable {name} is not set")

    def _file(self, name: str, node: Mapping[str, Any], path: str) -> Any:
        file = self._here / name
        try:
            value = file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            return self._missing(path, f"the file {file} cannot be read: {reason}")
        return self._secret(value) if value else self._missing(path, f"the file {file} is empty")

    def _in_data(self, name: str, node: Mapping[str, Any], path: str) -> Any:
        relative = Path(name)
        if relative.is_absolute() or ".." in relative.parts:
            return self._missing(path, "$data needs a name inside the data directory")
        self.used_data = True
        return str(self._data / relative)


class _Loader(yaml.SafeLoader):
    """YAML's plain values only, dates left as text; a key given twice is an error."""

    yaml_constructors = {}  # noqa: RUF012 (PyYAML's way)
    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def mapping(self, node: yaml.Node) -> dict[str, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise yaml.constructor.ConstructorError(None, None, "expected a mapping", node.start_mark)
        seen: set[Hashable] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            name = self.construct_object(key, deep=True)
            if not isinstance(name, str):
                raise yaml.constructor.ConstructorError(None, None, "a key must be text (quote it)", key.start_mark)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name} is given twice", key.start_mark)
            seen.add(name)
        self.flatten_mapping(node)
        return {str(k): v for k, v in self.construct_mapping(node, deep=True).items()}

    def sequence(self, node: yaml.Node) -> list[Any]:
        if not isinstance(node, yaml.SequenceNode):
            raise yaml.constructor.ConstructorError(None, None, "expected a list", node.start_mark)
        return self.construct_sequence(node, deep=True)

    def scalar(self, node: yaml.Node) -> Any:
        try:
            return yaml.SafeLoader.yaml_constructors[node.tag](self, node)
        except (ValueError, KeyError, OverflowError):
            # Its own message holds the value.
            raise yaml.constructor.ConstructorError(
                None, None, "this is not a value of its tag", node.start_mark
            ) from None

    def unknown(self, node: yaml.Node) -> Any:
        raise yaml.constructor.ConstructorError(None, None, "a tag that is not known here", node.start_mark)


for _tag in ("null", "bool", "int", "float", "str"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.scalar)
_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.mapping)
_Loader.add_constructor("tag:yaml.org,2002:seq", _Loader.sequence)
_Loader.add_constructor(None, _Loader.unknown)


def _wording(error: yaml.MarkedYAMLError) -> str:
    """What is wrong without the words of the file, which may be part of a secret: ``*abc`` is an alias to YAML."""
    problem = error.problem or error.context or "not YAML"
    return re.sub(r"(alias|anchor|tag|handle|prefix|constructor) u?'.*'", r"\1", problem, flags=re.DOTALL)
