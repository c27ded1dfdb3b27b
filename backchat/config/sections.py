"""The core's own sections: their settings, and the schemas that check them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar
from urllib.parse import urlsplit

from marshmallow import RAISE, Schema, ValidationError, fields, post_load, validate

from backchat.config.credits import CREDITS
from backchat.config.history import IMPORTS, RETENTION, SESSIONS, TITLES, VAULT
from backchat.config.measures import MIB, Size
from backchat.config.replies import DOCUMENTS, REPLIES, RepliesSettings
from backchat.domain.limits import DocumentLimits, ImportLimits, Retention, SessionTimes, Titling, VaultLimits
from backchat.domain.usage import Credits
from backchat.ports.agents import AgentBackend
from backchat.ports.auth import AuthenticatorBackend
from backchat.ports.component import SettingsSchema
from backchat.ports.embedding import EmbedderBackend
from backchat.ports.extraction import Extractor
from backchat.ports.importing import Importer
from backchat.ports.learning import LearnerBackend
from backchat.ports.memory import MemoryBackend
from backchat.ports.providers import ProviderBackend, ProviderWrapper
from backchat.ports.storage import StorageBackend
from backchat.ports.tools import ToolBackend
from backchat.ports.transcription import TranscriberBackend
from backchat.services.access import Authorize
from backchat.web.dialect import Dialect
from backchat.web.fields import Whole


class Configurable(Protocol):
    """What a section can name: a component or a dialect."""

    @property
    def name(self) -> str: ...

    @property
    def schema(self) -> SettingsSchema: ...


C_co = TypeVar("C_co", bound=Configurable, covariant=True)


@dataclass(frozen=True, slots=True)
class Selected(Generic[C_co]):
    """What the section at ``path`` selects: a component, its name (what ``use`` said), and the checked settings.

    ``common`` are the options that every entry of its section has; ``inner`` is what a component that wraps another one
    is to wrap.
    """

    path: str
    name: str
    component: C_co
    settings: Any = field(repr=False)
    common: Any = None
    inner: Selected[C_co] | None = None

    @property
    def innermost(self) -> Selected[C_co]:
        """What answers in the end, where one component wraps another: its prices hold, and its abilities."""
        return self.inner.innermost if self.inner is not None else self


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """``drain`` is in seconds, ``body_limit`` in bytes; ``proxies`` is how many of them are in front of the server."""

    host: str
    port: int
    drain: float
    body_limit: int
    log: Literal["console", "json"]
    log_level: Literal["debug", "info", "warning", "error"]
    cors_origins: tuple[str, ...]
    proxies: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A checked configuration. The names in ``default_provider`` and ``fallback`` are keys of ``providers``.

    The first of ``embedders`` is the default one. ``extractors`` are all that are installed, by the ends of file names,
    ``importers`` in the order of their names.

    ``authorize`` asks the installed plugins, then the core's own table.

    ``uses_data``: something in it lies in the data directory, which must then be there.
    """

    server: ServerSettings
    storage: Selected[StorageBackend]
    providers: Mapping[str, Selected[ProviderBackend | ProviderWrapper]]
    default_provider: str
    fallback: tuple[str, ...]
    embedders: Mapping[str, Selected[EmbedderBackend]]
    extractors: Mapping[str, Extractor]
    importers: Sequence[Importer]
    memory: Selected[MemoryBackend]
    strategies: Mapping[str, Selected[MemoryBackend]]
    learning: Selected[LearnerBackend]
    documents: DocumentLimits
    titles: Titling
    retention: Retention
    imports: ImportLimits
    sessions: SessionTimes
    vault: VaultLimits
    credits: Credits
    tools: tuple[Selected[ToolBackend], ...]
    agents: tuple[Selected[AgentBackend], ...]
    transcription: Selected[TranscriberBackend] | None
    auth: tuple[Selected[AuthenticatorBackend], ...]
    dialects: tuple[Selected[Dialect], ...]
    replies: RepliesSettings
    authorize: Authorize
    uses_data: bool


def options(schema: SettingsSchema) -> dict[str, fields.Field[Any]]:
    """The options of a section by the names that a configuration gives them."""
    return {field.data_key or name: field for name, field in schema.fields.items() if not field.dump_only}


def _origin(value: str) -> None:
    if value == "*":
        return
    try:
        url = urlsplit(value)
        bare = url.scheme in ("http", "https") and url.hostname and value == f"{url.scheme}://{url.netloc}"
        usable = bare and "@" not in value and (url.port is None or url.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise ValidationError("Must be '*' or an origin such as https://chat.example.org, without a path.")


class ServerSchema(Schema):
    class Meta:
        unknown = RAISE

    host = fields.String(
        load_default="127.0.0.1",
        validate=validate.Length(min=1),
        metadata={"description": "Address to listen on; `0.0.0.0` for all of IPv4, `::` for all."},
    )
    port = Whole(
        load_default=8080,
        validate=validate.Range(0, 65535),
        metadata={"description": "Port to listen on; 0 takes a free one."},
    )
    drain = fields.Float(
        load_default=10.0,
        validate=validate.Range(min=0),
        metadata={"description": "Seconds that running replies get to end when the server is asked to stop."},
    )
    body_limit = Size(
        load_default=20 * MIB,
        metadata={
            "type": "size",
            "default": "`20MiB`",
            "description": "The largest request body in bytes, or with KiB, MiB or GiB; images in it count as sent. "
            "Anything larger is refused with 413.",
        },
    )
    log = fields.String(
        load_default="console",
        validate=validate.OneOf(["console", "json"]),
        metadata={"description": "Form of the log lines on standard error."},
    )
    log_level = fields.String(
        load_default="info",
        validate=validate.OneOf(["debug", "info", "warning", "error"]),
        metadata={"description": "The least level that is logged."},
    )
    cors_origins = fields.List(
        fields.String(validate=_origin),
        load_default=list,
        metadata={"description": "Origins of web pages that may call the server from a browser; `*` for any."},
    )
    proxies = Whole(
        load_default=0,
        validate=validate.Range(0, 10),
        metadata={
            "description": "How many proxies of your own are in front of the server. So many entries, from the end, of "
            "`X-Forwarded-For` are believed when rate limits ask for a caller's address."
        },
    )

    @post_load
    def freeze(self, data: dict[str, Any], **_: object) -> ServerSettings:
        return ServerSettings(**{**data, "cors_origins": tuple(data["cors_origins"])})


OWN: Mapping[str, Schema] = {
    "server": ServerSchema(),
    "documents": DOCUMENTS,
    "titles": TITLES,
    "retention": RETENTION,
    "imports": IMPORTS,
    "sessions": SESSIONS,
    "vault": VAULT,
    "credits": CREDITS,
    "replies": REPLIES,
}
"""The core's own sections, by name. Each is a field of ``Config``, and may be left out."""

SECTIONS: Sequence[tuple[str, str]] = (
    ("server", "How the server listens, stops and logs."),
    ("storage", "Where everything is kept."),
    ("providers", "The model services, each under a name of your choice: small letters, digits, `-` and `_`."),
    ("default_provider", "Name of the provider that answers when nobody chose one; the first one unless set."),
    ("fallback", "Names of the providers to try, in order, when one fails before its first word; none unless set."),
    ("memory", "Which of the past messages a model is shown, where nobody chose one of `strategies`."),
    (
        "strategies",
        "More ways to choose the past messages, each under a name of your choice, for the assistants and conversations "
        "that ask for it by that name. Its components are those of `memory`.",
    ),
    ("learning", "What is remembered of what a user says, for later conversations, when a message asks for it."),
    (
        "embedders",
        "Embedding models, each under a name of your choice; the first is the default. With none, documents and "
        "memories are found by their words. They need more packages: `.venv/bin/pip install -e '.[embeddings]'`.",
    ),
    ("documents", "How documents are read and searched."),
    ("titles", "Who makes the titles of conversations, from their first exchange; unless set, its first words do."),
    ("retention", "How long conversations are kept. Their deadlines hold to the second, for every way of reading."),
    ("imports", "How much can be imported from the exports of other products."),
    ("sessions", "How long a login lasts, for dialects that have one."),
    ("vault", "What is kept of conversations that are pushed to the vault."),
    ("credits", "What calls of models cost, and what may be spent."),
    ("tools", "What the server can do for a model that calls for it: a list; nothing unless set."),
    (
        "agents",
        "Who can make replies besides the server's own loop: a list; nobody unless set. `langgraph` needs more "
        "packages: `.venv/bin/pip install -e '.[langgraph]'`.",
    ),
    ("transcription", "Who turns recordings into text; nobody unless set."),
    ("auth", "How callers prove who they are: a list, asked in order."),
    ("dialects", "The APIs that are served: a list."),
    ("replies", "How long replies run, wait and are kept."),
)
