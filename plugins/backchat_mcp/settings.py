"""Which server, how it is reached, and what of it is offered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, post_load, validate, validates_schema

from backchat.upstream.options import one_line, seconds, service_url

_HEADER = validate.Regexp(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One of ``command`` and ``url`` is set; times in seconds. ``allow`` None is every tool of the server."""

    name: str
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    directory: str | None = None
    stderr: bool = False
    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    allow: frozenset[str] | None = None
    web: bool = False
    connect_timeout: float = 30
    call_timeout: float = 300


class SettingsSchema(Schema):
    class Meta:
        unknown = RAISE

    name = fields.String(
        required=True,
        validate=validate.Regexp(r"[a-z0-9][a-z0-9-]{0,23}\Z", error="Must be a short name of a-z, 0-9 and '-'."),
        metadata={"description": "A short name for the server: its tools are called by it, `_`, and their own names."},
    )
    command = fields.List(
        fields.String(validate=validate.Length(min=1)),
        load_default=list,
        metadata={"description": "A program and its arguments, which is started and spoken to over stdio."},
    )
    env = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        load_default=dict,
        metadata={
            "description": "More environment variables for it. Of the server's own it gets `HOME`, `LOGNAME`, `PATH`, "
            "`SHELL`, `TERM` and `USER` only. Their values are treated as secrets."
        },
    )
    directory = fields.String(
        load_default=None, allow_none=True, metadata={"description": "The directory in which it is started."}
    )
    stderr = fields.Boolean(
        load_default=False,
        metadata={"description": "Whether what it writes to standard error goes to that of the server, or nowhere."},
    )
    url = fields.String(
        load_default=None,
        allow_none=True,
        validate=service_url,
        metadata={"description": "Instead of `command`: where a server is that speaks streamable HTTP."},
    )
    headers = fields.Dict(
        keys=fields.String(validate=_HEADER),
        values=fields.String(validate=one_line),
        load_default=dict,
        metadata={
            "description": "Headers of every request, such as `Authorization`. Their values are treated as secrets."
        },
    )
    allow = fields.List(
        fields.String(),
        load_default=None,
        allow_none=True,
        metadata={"description": "Names of the tools that are offered, as the server calls them; unless set, all."},
    )
    web = fields.Boolean(
        load_default=False,
        metadata={
            "description": "Whether they look things up in the web: then they are offered where that is asked for."
        },
    )
    connect_timeout = seconds(30, "Seconds for the server to be started or reached, and to list its tools.")
    call_timeout = seconds(300, "Seconds of a call, if `replies.tool_time` is not shorter.")

    @validates_schema
    def one_way(self, data: Mapping[str, Any], **_: object) -> None:
        if bool(data.get("command")) == bool(data.get("url")):
            raise ValidationError("Must have either a command or a url.")
        if data.get("url") and (data.get("env") or data.get("directory") or data.get("stderr")):
            raise ValidationError("env, directory and stderr are for a command.")
        if data.get("command") and data.get("headers"):
            raise ValidationError("headers are for a url.")

    @post_load
    def freeze(self, data: Mapping[str, Any], **_: object) -> Settings:
        allow = data["allow"]
        own = {**data, "command": tuple(data["command"]), "allow": None if allow is None else frozenset(allow)}
        return Settings(**own)
