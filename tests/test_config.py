"""From YAML to checked settings: what is read, what is refused, and that no secret is told."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
import types
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from marshmallow import RAISE, Schema, ValidationError, fields, validate

from backchat.config import Config, Selected, load_config, opened
from backchat.config.entries import COMMON, LimitsSchema
from backchat.config.reference import configuration_page, first_party
from backchat.config.sections import OWN, SECTIONS, options
from backchat.errors import ConfigError
from backchat.hookspecs import hookimpl
from backchat.plugins import Offers, Plugins
from backchat.ports.component import Component
from backchat.ports.providers import ProviderWrapper
from backchat.web.dialect import Dialect

ROOT = Path(__file__).parent.parent
SECRET = "hunter2-hunter2-hunter2-hunter2-hunter2"


class Empty(Schema):
    class Meta:
        unknown = RAISE


class Inner(Schema):
    class Meta:
        unknown = RAISE

    region = fields.String(required=True, metadata={"description": "A place."})


def tells(value: str) -> None:
    raise ValidationError(f"{value} is not what I like.")


class Rich(Schema):
    """Options of every shape."""

    class Meta:
        unknown = RAISE

    path = fields.String(required=True, metadata={"description": "A path."})
    token = fields.String(validate=validate.Length(min=10), metadata={"description": "A secret."})
    chatty = fields.String(validate=tells, metadata={"description": "Its message holds its value."})
    size = fields.Integer(load_default=3, metadata={"description": "A number."})
    fast = fields.Boolean(load_default=False, metadata={"description": "A switch."})
    renamed = fields.String(data_key="other-name", metadata={"description": "Another name in YAML."})
    tags = fields.List(fields.String(), metadata={"description": "A list."})
    headers = fields.Dict(
        fields.String(validate=validate.Length(max=3)), fields.Integer(), metadata={"description": "A mapping."}
    )
    inner = fields.Nested(Inner, metadata={"description": "A section of its own."})
    inners = fields.List(fields.Nested(Inner), metadata={"description": "Several."})


def never(*args: Any) -> Any:
    raise AssertionError("nothing is opened while the configuration is read")


def module(name: str, **offers: Sequence[object]) -> types.ModuleType:
    """A plugin that offers these, for each hook."""
    plugin = types.ModuleType(name)
    for hook, offered in offers.items():
        setattr(plugin, hook, hookimpl(partial_of(offered)))
    return plugin


def partial_of(offered: Sequence[object]) -> Callable[[], Sequence[object]]:
    return lambda: offered


def dialect(name: str) -> Dialect:
    return Dialect(name=name, mount=f"/{name}", routes=[], render_error=never)


@pytest.fixture
def plugins() -> Plugins:
    return Plugins(
        [
            module(
                "things",
                backchat_storages=[Component("sqlite", Rich(), never), Component("other", Empty(), never)],
                backchat_providers=[Component("echo", Empty(), never), Component("rich", Rich(), never)],
                backchat_memories=[Component("window", Empty(), never)],
                backchat_learners=[Component("recall", Empty(), never)],
                backchat_embedders=[Component("near", Empty(), never), Component("far", Rich(), never)],
                backchat_authenticators=[
                    Component("session", Empty(), never),
                    Component("apikey", Empty(), never),
                    Component("rich", Rich(), never),
                ],
                backchat_tools=[Component(name, Empty(), never) for name in ("clock", "calculator")],
                backchat_dialects=[
                    dialect("chat"),
                    dialect("threads"),
                    dialect("convos"),
                    dialect("workspaces"),
                    dialect("vault"),
                ],
            )
        ]
    )


Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path, plugins: Plugins) -> Load:
    """Read a text (or sections, as values) as a configuration file."""

    def read(text: str = "", **sections: Any) -> Config:
        file = tmp_path / "backchat.yml"
        given = text or yaml.safe_dump({"providers": {"echo": "echo"}, **sections}, sort_keys=False)
        file.write_bytes(given.encode("utf-8", "surrogateescape"))
        return load_config(file, plugins, data=Path("/data"))

    return read


Problems = Callable[..., list[str]]


@pytest.fixture
def problems(load: Load) -> Problems:
    """What is wrong with a text, or with sections."""

    def refused(text: str = "", **sections: Any) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text, **sections)
        return list(caught.value.problems)

    return refused


# What is read


def test_sections_become_settings(load: Load) -> None:
    config = load(
        """
        server: {host: 0.0.0.0, port: 9000, drain: 2.5, body_limit: 5 MiB, log: json, log_level: debug,
                 cors_origins: ["https://a.example", "http://localhost:3000", "*"]}
        storage: {use: sqlite, path: x.db, size: 7}
        providers:
          one: {use: rich, path: p}
          two: echo
        default_provider: two
        fallback: [one, two, one]
        memory: window
        auth: [apikey, {use: rich, path: a}]
        dialects: [threads, {use: chat}]
        replies: {keep: 60, wait: 1, max_duration: 30, lease: 5}
        """
    )
    assert (config.server.host, config.server.port, config.server.drain) == ("0.0.0.0", 9000, 2.5)
    assert (config.server.body_limit, config.server.log, config.server.log_level) == (5 * 1024 * 1024, "json", "debug")
    assert config.server.cors_origins == ("https://a.example", "http://localhost:3000", "*")
    assert (config.storage.path, config.storage.name) == ("storage", "sqlite")
    assert config.storage.settings == {"path": "x.db", "size": 7, "fast": False}
    assert [(k, s.path, s.name, s.component.name) for k, s in config.providers.items()] == [
        ("one", "providers.one", "rich", "rich"),
        ("two", "providers.two", "echo", "echo"),
    ]
    assert (config.default_provider, config.fallback) == ("two", ("one", "two"))
    assert [(s.path, s.name) for s in config.auth] == [("auth[0]", "apikey"), ("auth[1]", "rich")]
    assert [(s.path, s.name) for s in config.dialects] == [("dialects[0]", "threads"), ("dialects[1]", "chat")]
    assert (config.replies.keep, config.replies.wait, config.replies.max_duration, config.replies.lease) == (
        60,
        1,
        30,
        5,
    )


def test_what_is_left_out_is_that_of_minimal(load: Load) -> None:
    config = load("{server: , storage: , replies: , providers: {mine: echo}}")
    assert config.storage.settings["path"] == "/data/backchat.db"
    assert (config.memory.name, config.auth[1].name, config.dialects[0].name) == ("window", "apikey", "chat")
    assert (config.default_provider, config.fallback) == ("mine", ())
    assert (config.server.host, config.server.port, config.server.drain) == ("127.0.0.1", 8080, 10)
    assert (config.server.body_limit, config.server.log, config.server.cors_origins) == (
        20 * 1024 * 1024,
        "console",
        (),
    )
    assert (config.replies.keep, config.replies.wait, config.replies.max_duration, config.replies.lease) == (
        86400,
        30,
        600,
        15,
    )


def test_the_first_provider_is_the_default(load: Load) -> None:
    assert load(providers={"b": "echo", "a": "echo"}).default_provider == "b"
    assert load(providers={"b": "echo", "a": "echo"}, default_provider=None).default_provider == "b"


def test_no_file_is_minimal(plugins: Plugins) -> None:
    config = load_config(None, plugins, data=Path("/data"))
    assert [*config.providers] == ["echo"]
    assert config.storage.settings["path"] == "/data/backchat.db"


def test_whether_the_data_directory_is_used(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is what was resolved, not what the file says: here a section of the packaged file, there nothing."""
    elsewhere = {"use": "sqlite", "path": "/srv/chat.db"}
    assert load("providers: {echo: echo}").uses_data
    assert not load("# no {$data: backchat.db}\nproviders: {echo: echo}\nstorage: {use: other}").uses_data
    assert not load(storage=elsewhere).uses_data
    either = {"use": "sqlite", "path": {"$env": "DB_PATH", "default": {"$data": "backchat.db"}}}
    assert load(storage=either).uses_data
    monkeypatch.setenv("DB_PATH", "/srv/chat.db")
    assert not load(storage=either).uses_data


@pytest.mark.parametrize(("size", "counted"), [("1", 1), (2048, 2048), ("1KiB", 1024), ("2 GiB", 2 << 30)])
def test_sizes(load: Load, size: object, counted: int) -> None:
    assert load(server={"body_limit": size}).server.body_limit == counted


@pytest.mark.parametrize("size", ["", "0", 0, -1, 1.5, True, "1MB", "1 mib", "MiB", "9" * 13, [1]])
def test_what_is_no_size(problems: Problems, size: object) -> None:
    assert problems(server={"body_limit": size}) == [
        "server.body_limit: Must be a number of bytes, or one with KiB, MiB or GiB."
    ]


def test_a_reusable_part_of_yaml(load: Load) -> None:
    config = load("providers: {a: &rich {use: rich, path: p, size: 5}, b: {<<: *rich, size: 6}, c: *rich}")
    assert [s.settings["size"] for s in config.providers.values()] == [5, 6, 5]


def test_a_byte_order_mark_is_no_part_of_a_key(load: Load) -> None:
    assert load("\ufeffproviders: {a: echo}").default_provider == "a"


# References


def test_references_stand_for_values_anywhere(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9001")
    monkeypatch.setenv("STORE", "sqlite")
    monkeypatch.setenv("EMPTY", "")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "token").write_text(f"\n  {SECRET}\n")
    config = load(
        server={"port": {"$env": "PORT"}, "cors_origins": [{"$env": "ORIGIN", "default": "*"}]},
        storage={"use": {"$env": "STORE"}, "path": {"$data": "a/b.db"}, "token": {"$file": "secrets/token"}},
        providers={"a": {"use": "rich", "path": {"$file": str(tmp_path / "secrets" / "token")}}},
        auth=[{"use": "rich", "path": {"$env": "EMPTY", "default": {"$env": "STORE"}}}],
        replies={"keep": {"$env": "EMPTY", "default": 7}},
    )
    assert config.server.port == 9001
    assert config.server.cors_origins == ("*",)
    assert config.storage.settings == {"path": "/data/a/b.db", "token": SECRET, "size": 3, "fast": False}
    assert config.providers["a"].settings["path"] == SECRET
    assert config.auth[0].settings["path"] == "sqlite"
    assert config.replies.keep == 7


def test_what_cannot_be_resolved_is_told_once_with_its_path(problems: Problems, tmp_path: Path) -> None:
    assert problems(
        storage={"use": "sqlite", "path": {"$env": "NOT_SET"}},
        providers={"a": {"use": "rich", "path": "x", "token": {"$file": "none"}, "tags": ["a", {"$env": "NOR_THIS"}]}},
        auth=[{"use": "rich", "path": {"$data": "../x"}}, {"use": "rich", "path": {"$data": "/etc/passwd"}}],
        memory={"$env": "MEMORY"},
        dialects={"$file": "."},
        default_provider={"$env": "DEFAULT"},
        fallback=[{"$env": "OTHER"}],
        server={"$env": "SERVER"},
    ) == [
        "server: the environment variable SERVER is not set",
        "storage.path: the environment variable NOT_SET is not set",
        f"providers.a.token: the file {tmp_path / 'none'} cannot be read: No such file or directory",
        "providers.a.tags[1]: the environment variable NOR_THIS is not set",
        "default_provider: the environment variable DEFAULT is not set",
        "fallback[0]: the environment variable OTHER is not set",
        "memory: the environment variable MEMORY is not set",
        "auth[0].path: $data needs a name inside the data directory",
        "auth[1].path: $data needs a name inside the data directory",
        f"dialects: the file {tmp_path} cannot be read: Is a directory",
    ]


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        ({"$env": SECRET}, "$env needs the name of an environment variable, not a value"),
        ({"$env": ""}, "$env needs a name"),
        ({"$env": None}, "$env needs a name"),
        ({"$env": ["A"]}, "$env needs a name"),
        ({"$vault": "a"}, "unknown reference $vault; there are: $env, $file, $data"),
        ({"$file": "a", "strip": False}, "nothing else can stand beside $file: strip"),
        ({"$file": "a", "default": "b"}, "nothing else can stand beside $file: default"),
        ({"$env": "A", "$file": "b"}, "nothing else can stand beside $env: $file"),
    ],
)
def test_what_is_no_reference(problems: Problems, node: object, problem: str) -> None:
    assert problems(storage={"use": "sqlite", "path": node}) == [f"storage.path: {problem}"]


@pytest.mark.parametrize(
    ("content", "reason"), [(b" \n", "is empty"), (b"\xff\xfe", "cannot be read: it is not UTF-8 text")]
)
def test_a_file_without_text(problems: Problems, tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "token").write_bytes(content)
    told = problems(storage={"use": "sqlite", "path": {"$file": "token"}})
    assert told == [f"storage.path: the file {tmp_path / 'token'} {reason}"]


def test_a_rule_over_several_options_is_silent_when_one_could_not_be_resolved(tmp_path: Path) -> None:
    """Its secret is missing: that it needs one is not another problem."""
    file = tmp_path / "backchat.yml"
    file.write_text("{providers: {echo: echo}, auth: [{use: jwt, secret: {$env: NOT_SET}}]}")
    with pytest.raises(ConfigError) as caught:
        load_config(file, first_party(), data=tmp_path)
    assert caught.value.problems == ("auth[0].secret: the environment variable NOT_SET is not set",)


# What is refused


def test_everything_is_told_at_once(problems: Problems) -> None:
    assert problems(
        """
        sever: {}
        server: {port: high, hots: x, drain: -1, log: xml, cors_origins: [example.org, "http://x/"]}
        storage: {use: sqlit}
        providers:
          a: {use: rich, pth: x, size: [], tags: x, headers: {long-name: 1, ok: x}, zzz: 1}
          b: {use: rich, path: x, inner: {}, inners: [{region: x}, {region: 1, regoin: 2}], other_name: x}
          c: {}
          d: 7
          e: {use: 7}
        memory: [window]
        auth: []
        dialects: chat
        replies: {lease: 0, keep: null}
        """
    ) == [
        "sever: unknown key; did you mean server?",
        "server.port: Not a valid integer.",
        "server.drain: Must be greater than or equal to 0.",
        "server.log: Must be one of: console, json.",
        "server.cors_origins[0]: Must be '*' or an origin such as https://chat.example.org, without a path.",
        "server.cors_origins[1]: Must be '*' or an origin such as https://chat.example.org, without a path.",
        "server.hots: unknown key; did you mean host?",
        "replies.keep: has no value",
        "replies.lease: Must be greater than or equal to 1.",
        "storage.use: unknown storage 'sqlit'; installed: other, sqlite",
        "providers.a.path: is required",
        "providers.a.size: Not a valid integer.",
        "providers.a.tags: Not a valid list.",
        "providers.a.headers.long-name: Longer than maximum length 3.",
        "providers.a.headers.ok: Not a valid integer.",
        "providers.a.pth: unknown key; did you mean path?",
        "providers.a.zzz: unknown key; there are: "
        "path, token, chatty, size, fast, other-name, tags, headers, inner, inners",
        "providers.b.inner.region: is required",
        "providers.b.inners[1].region: Not a valid string.",
        "providers.b.inners[1].regoin: unknown key; did you mean region?",
        "providers.b.other_name: unknown key; did you mean other-name?",
        "providers.c.use: is required; installed: echo, rich",
        "providers.d: must be a mapping such as {use: name, option: value}, or just a name",
        "providers.e.use: unknown provider 7; installed: echo, rich",
        "memory: must be a mapping such as {use: name, option: value}, or just a name",
        "auth: must be a list of one or more, such as [{use: name}]",
        "dialects: must be a list of one or more, such as [{use: name}]",
    ]  # fmt: skip


def test_a_component_without_options(problems: Problems) -> None:
    assert problems(auth=[{"use": "apikey", "keys": {"a": "b"}}]) == [
        "auth[0].keys: unknown key; there are no options here"
    ]


@pytest.mark.parametrize("name", ["Local", "a b", "-a", "a.b", "é", "default", ""])
def test_what_is_no_providers_name(problems: Problems, name: str) -> None:
    (problem,) = problems(providers={"fine": "echo", "2-is_fine": "echo", name: "echo"})
    assert problem.startswith(f"providers.{name}: ")


@pytest.mark.parametrize("providers", [None, {}, [], "echo"])
def test_providers_must_be_there(problems: Problems, providers: object) -> None:
    told = problems(providers=providers)
    assert told[0] == "providers: is required: a mapping of names, such as {local: {use: echo}}"


def test_names_that_are_no_configured_provider(problems: Problems) -> None:
    assert problems(
        providers={"a": "echo", "b": {"use": "bad"}}, default_provider="c", fallback=["a", "b", "rich", 1]
    ) == [
        "providers.b.use: unknown provider 'bad'; installed: echo, rich",
        "default_provider: 'c' is not a configured provider; there are: a, b",
        "fallback[2]: 'rich' is not a configured provider; there are: a, b",
        "fallback[3]: this is not a configured provider; there are: a, b",
    ]
    assert problems(fallback="echo") == ["fallback: must be a list of provider names"]


def test_a_dialect_is_served_once(problems: Problems) -> None:
    assert problems(dialects=["chat", "threads", {"use": "chat"}]) == ["dialects[2]: the dialect chat is listed twice"]


@pytest.mark.parametrize("port", [8080.5, -1, 65536, "http", True, None])
def test_what_is_no_port(problems: Problems, port: object) -> None:
    (problem,) = problems(server={"port": port})
    assert problem.startswith("server.port: ")


@pytest.mark.parametrize(
    "origin", ["", "example.org", "ftp://x", "https://x/", "https://x/y", "https://u@x", "https://x:y", "https://["]
)  # fmt: skip
def test_what_is_no_origin(problems: Problems, origin: str) -> None:
    (problem,) = problems(server={"cors_origins": [origin]})
    assert problem.startswith("server.cors_origins[0]: ")


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ("a: [1, 2\nb: 3", "line 2, column 2", "expected ',' or ']'"),
        ("server:\n\tport: 1", "line 2, column 1", "found character"),
        ("server: {}\nserver: {}", "line 2, column 1", "the key server is given twice"),
        ("providers:\n  a: {use: echo, x: {k: 1, k: 2}}", "line 2, column 28", "the key k is given twice"),
        ("providers: {1: echo}", "line 1, column 13", "a key must be text"),
        ("providers: {on: echo}", "line 1, column 13", "a key must be text"),
        ("? [a]\n: b", "line 1, column 3", "a key must be text"),
        ("a: !!python/object/apply:os.system [ls]", "line 1, column 4", "a tag that is not known here"),
        ("a: !!binary aGVsbG8=", "line 1, column 4", "a tag that is not known here"),
        ("a: !!int x", "line 1, column 4", "this is not a value of its tag"),
        ("a: !!bool x", "line 1, column 4", "this is not a value of its tag"),
        ("a: !!map x", "line 1, column 4", "expected a mapping"),
        ("a: !!seq x", "line 1, column 4", "expected a list"),
        ("&a a: *a\n<<: x", "line 2, column 5", "mapping"),
        ("a: &a {b: *a}", "line 1, column 4", "recursive"),
        ("a: *b", "line 1, column 4", "undefined alias"),
        ("a: 1\n---\nb: 2", "line 2, column 1", "document"),
        ("a: \x07", "line 1", "a character that YAML does not allow"),
    ],
)
def test_what_is_not_the_yaml_that_is_taken(
    problems: Problems, tmp_path: Path, text: str, where: str, says: str
) -> None:
    (problem,) = problems(text)
    assert problem.startswith(f"{tmp_path / 'backchat.yml'}, {where}: ")
    assert says in problem


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("# nothing", "is empty"),
        ("---\n", "is empty"),
        ("[a, b]", "must be a mapping of sections, such as 'server:' and 'storage:'"),
        ("hello", "must be a mapping of sections, such as 'server:' and 'storage:'"),
        ("a: \udcff", "is not UTF-8 text (byte 3)"),
    ],
)
def test_what_is_no_configuration(problems: Problems, tmp_path: Path, text: str, says: str) -> None:
    assert problems(text) == [f"{tmp_path / 'backchat.yml'}: {says}"]


def test_dates_and_the_like_stay_text(load: Load) -> None:
    config = load("providers: {a: {use: rich, path: 2026-03-01}}")
    assert config.providers["a"].settings["path"] == "2026-03-01"


def test_a_file_that_is_not_there(plugins: Plugins, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "none.yml", plugins, data=tmp_path)
    assert caught.value.problems == (f"{tmp_path / 'none.yml'}: cannot be read: No such file or directory",)


def test_two_plugins_of_one_name() -> None:
    with pytest.raises(ConfigError) as caught:
        Plugins(
            [
                module("first", backchat_storages=[Component("x", Empty(), never)]),
                module("second", backchat_storages=[Component("x", Empty(), never)]),
            ]
        )
    assert caught.value.problems == ("two plugins offer the storage 'x': first and second",)


# Secrets


@pytest.mark.parametrize(
    "text",
    [
        "providers: {a: {use: rich, path: p, chatty: $}}",
        "providers: {a: {use: rich, path: p, chatty: {$env: TOKEN}}}",
        "providers: {a: {use: rich, path: p, size: $, fast: $, tags: $, inner: $}}",
        "providers: {a: {use: rich, path: p, headers: {a: $}}}",
        "providers: {a: {use: {$env: TOKEN}}}",
        "providers: {a: {use: rich, path: {$env: $}}}",
        "{providers: {a: echo}, default_provider: {$env: TOKEN}}",
        "{providers: {a: echo}, server: {host: 1, port: $, log: $, log_level: {$env: TOKEN}, drain: $}}",
        "providers: {a: {use: rich, token: !$ x}}",
        "providers: {a: {use: rich, token: *$}}",
        "providers: {a: {use: rich, token: !!int $}}",
        "providers: {a: {use: rich, token: '$}}",
        'providers: {a: {use: rich, token: "\\$"}}',
        "providers: {a: {use: rich, token: %$}}",
        "providers: {a: {use: rich, token: `$}}",
        "providers: {a: {use: rich, token: $: $}}",
        "$",
    ],
)
def test_no_message_holds_a_value(load: Load, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    with pytest.raises(ConfigError) as caught:
        load(text.replace("$env", "\0").replace("$", SECRET).replace("\0", "$env"))
    told = [str(caught.value), repr(caught.value), *caught.value.problems]
    assert not [line for line in told if SECRET in line or "hunter2" in line]


def test_settings_do_not_show(load: Load) -> None:
    config = load(storage={"use": "sqlite", "path": "x", "token": SECRET})
    assert config.storage.settings["token"] == SECRET
    assert SECRET not in repr(config)


# Opening


def component(open: Callable[..., Any], extra: str | None = None) -> Selected[Any]:
    return Selected("storage", "mongo", Component("mongo", Empty(), open, extra), {"a": 1})


async def test_opening_gives_the_settings_and_the_arguments() -> None:
    closed = []

    @asynccontextmanager
    async def open(settings: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        yield settings, args, kwargs
        closed.append(True)

    async with opened(component(open), 2, three=3) as got:
        assert got == ({"a": 1}, (2,), {"three": 3})
        assert not closed
    assert closed


@asynccontextmanager
async def late_import(settings: Any) -> AsyncIterator[None]:
    importlib.import_module("a_driver_that_is_not_installed")
    yield


def early_import(settings: Any) -> Any:
    return importlib.import_module("a_driver_that_is_not_installed")


@pytest.mark.parametrize("open", [late_import, early_import])
@pytest.mark.parametrize(
    ("extra", "needs"), [("mongo", "backchat[mongo]"), ("backchat-redis[driver]", "backchat-redis[driver]")]
)
async def test_a_driver_that_is_not_installed(open: Callable[..., Any], extra: str, needs: str) -> None:
    with pytest.raises(ConfigError) as caught:
        async with opened(component(open, extra)):
            pass
    assert caught.value.problems == (f"storage: the mongo backend needs: pip install '{needs}'",)


async def test_a_faulty_import_of_a_component_without_extra_is_not_explained_away() -> None:
    with pytest.raises(ModuleNotFoundError):
        async with opened(component(late_import)):
            pass


async def test_an_import_that_fails_later_is_not_the_drivers() -> None:
    @asynccontextmanager
    async def open(settings: Any) -> AsyncIterator[None]:
        yield

    with pytest.raises(ImportError, match="mine"):
        async with opened(component(open, "mongo")):
            raise ImportError("mine")


async def test_what_a_component_finds_wrong_gets_its_path() -> None:
    @asynccontextmanager
    async def open(settings: Any) -> AsyncIterator[None]:
        raise ConfigError(["the file is newer than this server", "and it is locked"])
        yield

    with pytest.raises(ConfigError) as caught:
        async with opened(component(open)):
            pass
    assert caught.value.problems == ("storage: the file is newer than this server", "storage: and it is locked")


async def test_the_body_of_an_opened_component_may_be_cancelled() -> None:
    closed = asyncio.Event()

    @asynccontextmanager
    async def open(settings: Any) -> AsyncIterator[None]:
        try:
            yield
        finally:
            closed.set()

    async def use(entered: asyncio.Event) -> None:
        async with opened(component(open)):
            entered.set()
            await asyncio.Event().wait()

    entered = asyncio.Event()
    task = asyncio.create_task(use(entered))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed.is_set()


# What is shipped


@pytest.fixture
def deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped configurations where a deployer would put them, with all that they refer to."""
    services = [f"{name}_API_KEY" for name in ("OPENAI", "GROQ", "OPENROUTER", "ANTHROPIC", "GEMINI")]
    for name in (*services, "BACKCHAT_JWT_SECRET"):
        monkeypatch.setenv(name, SECRET)
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    (tmp_path / "jwt-public.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    for file in (ROOT / "configs").glob("*.yml"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.mark.parametrize("name", sorted(file.name for file in (ROOT / "configs").glob("*.yml")))
def test_every_shipped_configuration_loads(deployed: Path, name: str) -> None:
    load_config(deployed / name, first_party(), data=deployed)


def test_shipped_configurations_are_packaged() -> None:
    packaged = {file.name for file in files("backchat.configs").iterdir() if file.name.endswith(".yml")}
    assert packaged == {file.name for file in (ROOT / "configs").glob("*.yml")}


def test_a_missing_secret_of_a_shipped_configuration_is_told(deployed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    (deployed / "jwt-public.pem").unlink()
    with pytest.raises(ConfigError) as caught:
        load_config(deployed / "full.yml", first_party(), data=deployed)
    assert caught.value.problems == (
        "providers.openai.api_key: the environment variable OPENAI_API_KEY is not set",
        "embedders.openai.api_key: the environment variable OPENAI_API_KEY is not set",
        "transcription.api_key: the environment variable OPENAI_API_KEY is not set",
        f"auth[3].public_key: the file {deployed / 'jwt-public.pem'} cannot be read: No such file or directory",
    )


def sections_of(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each place in a document that selects a component, under what it is a choice of."""
    yield "storage", document["storage"]
    yield "memory strategy", document["memory"]
    yield "learner", document["learning"]
    for section in document["embedders"].values():
        yield "embedder", section
    for section in document["strategies"].values():
        yield "memory strategy", section
    for section in document["providers"].values():
        yield from with_inner("provider", section)
    for section in document["auth"]:
        yield "authenticator", section
    for section in document["dialects"]:
        yield "dialect", section
    for section in document["tools"]:
        yield "tool", section
    for section in document["agents"]:
        yield "agent", section
    yield "transcriber", document["transcription"]


def with_inner(what: str, section: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Also the one that it wraps, if it does."""
    yield what, section
    if "provider" in section:
        yield from with_inner(what, section["provider"])


ALTERNATIVES = {
    "storage": "storage",
    "memory": "memory strategy",
    "tools": "tool",
    "transcription": "transcriber",
}
"""Sections of which more is shown than is in use, and what they are a choice of."""


def commented(text: str) -> Iterator[dict[str, Any]]:
    """The alternatives of a file: blocks of comment that are a section themselves."""
    for block in text.split("\n\n"):
        bare = "\n".join(line.removeprefix("# ") for line in block.splitlines() if line.startswith("# "))
        if bare.startswith(tuple(f"{name}:\n" for name in ALTERNATIVES)):
            yield yaml.safe_load(bare)


def test_full_shows_everything() -> None:
    text = (ROOT / "configs" / "full.yml").read_text()
    document = yaml.safe_load(text)
    shown = [*sections_of(document)]
    for block in commented(text):
        for name, section in block.items():
            shown += [(ALTERNATIVES[name], one) for one in (section if isinstance(section, list) else [section])]
    plugins = first_party()
    used = {(what, section["use"]) for what, section in shown}
    chosen = [offers for offers in plugins.offers if offers not in (plugins.extractors, plugins.importers)]
    assert used == {(offers.what, name) for offers in chosen for name in offers}
    for offers in chosen:
        for name, offered in offers.items():
            schema = options_of(offers, name)
            given: set[str] = set()
            for what, section in shown:  # presets of one protocol are shown in full once
                if what == offers.what and akin(schema_of(offers, section["use"]), schema_of(offers, name)):
                    given |= section.keys() - {"use"}
            wraps = {"provider"} if isinstance(offered, ProviderWrapper) else set()
            assert set(schema) | wraps <= given, f"{offers.what} {offered.name}"
    for name, entry in COMMON.items():
        listed = document[name].values() if isinstance(document[name], dict) else document[name]
        assert set(options(entry)) <= {option for section in listed for option in section}, name
    limits = [set(section["limits"]) for section in document["providers"].values() if "limits" in section]
    assert set(options(LimitsSchema())) in limits
    assert document.keys() == dict(SECTIONS).keys()
    assert {name: set(document[name]) for name in OWN} == {name: set(options(section)) for name, section in OWN.items()}


def akin(one: Any, other: Any) -> bool:
    """Whether one of them has the other's options and perhaps more."""
    return isinstance(one, type(other)) or isinstance(other, type(one))


def schema_of(offers: Offers[Any], name: str) -> Any:
    return offers[name].schema


def options_of(offers: Offers[Any], name: str) -> dict[str, Any]:
    return options(schema_of(offers, name))


def test_full_shows_the_defaults(deployed: Path) -> None:
    """Except where it says so, or where there is none."""
    full = load_config(deployed / "full.yml", first_party(), data=deployed)
    bare = load_config(None, first_party(), data=deployed)
    assert full.replies == bare.replies
    assert full.storage.settings == bare.storage.settings
    assert full.memory.settings == bare.memory.settings
    assert full.providers["local"].settings == bare.providers["echo"].settings
    for name in ("host", "port", "drain", "body_limit", "log", "log_level"):
        assert getattr(full.server, name) == getattr(bare.server, name)
    openai = first_party().providers["openai"].schema
    assert full.providers["openai"].settings == openai.load({"model": "gpt-5-mini", "api_key": SECRET})


def test_the_page_of_options_is_up_to_date() -> None:
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == configuration_page(first_party()), (
        "make it again: python -m backchat.config.reference > docs/configuration.md"
    )


def test_every_option_is_described() -> None:
    plugins = first_party()
    for offers in plugins.offers:
        for name in offers if offers not in (plugins.extractors, plugins.importers) else ():
            for option, field in options_of(offers, name).items():
                described = field.metadata.get("description", "")
                assert described.endswith("."), f"{offers.what} {name}: {option}"


def test_the_page_says_types_and_defaults() -> None:
    plugins = Plugins([module("things", backchat_storages=[Component("rich", Rich(), never)])])
    lines = configuration_page(plugins).splitlines()
    rows = lines[lines.index("### `rich`") + 4 :]
    assert rows[:9] == [
        "| `path` | text | required | A path. |",
        "| `token` | text | unset | A secret. |",
        "| `chatty` | text | unset | Its message holds its value. |",
        "| `size` | integer | `3` | A number. |",
        "| `fast` | true or false | `false` | A switch. |",
        "| `other-name` | text | unset | Another name in YAML. |",
        "| `tags` | list | unset | A list. |",
        "| `headers` | mapping | unset | A mapping. |",
        "| `inner` | mapping | unset | A section of its own. |",
    ]


def test_reading_a_configuration_loads_no_driver(tmp_path: Path) -> None:
    """They are imported when something is opened, so that one that is missing stops nothing else."""
    program = (
        "import sys; from pathlib import Path; from backchat.config import load_config;"
        "from backchat.config.reference import first_party;"
        "load_config(None, first_party(), data=Path('.'));"
        "print(*[m for m in ('aiosqlite', 'jwt') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert ran.stdout.split() == []
