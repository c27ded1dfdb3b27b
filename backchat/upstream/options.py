"""The options that every service which is reached over HTTP has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from marshmallow import RAISE, Schema, ValidationError, fields, validate

_OWN_HEADERS = frozenset(
    {"authorization", "x-api-key", "x-goog-api-key", "content-type", "content-length", "host", "transfer-encoding"}
)


def one_line(value: str) -> None:
    if not value.isascii() or not value.isprintable():
        raise ValidationError("Must be one line of printable ASCII.")


def service_url(value: str) -> None:
    try:
        url = urlsplit(value)
        usable = url.scheme in ("http", "https") and url.hostname and (url.port is None or url.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise ValidationError("Must be an http or https URL.")
    if "@" in url.netloc or url.fragment:
        raise ValidationError("Must hold neither credentials nor a fragment.")


def not_ending_in(*ends: str) -> Callable[[str], None]:
    """For an address that a service's documentation gives with more of a path than is wanted here."""

    def check(value: str) -> None:
        path = urlsplit(value).path.rstrip("/")
        if end := next((end for end in ends if path.endswith(end)), None):
            raise ValidationError(f"Must be without {end}, which is added.")

    return check


def no_own_headers(value: Mapping[str, str]) -> None:
    if taken := _OWN_HEADERS & {name.lower() for name in value}:
        raise ValidationError(f"Must not set {', '.join(sorted(taken))}.")


def seconds(default: float, description: str) -> fields.Float:
    return fields.Float(
        load_default=default,
        validate=validate.Range(min=0, min_inclusive=False),
        metadata={"description": description},
    )


class ServiceSchema(Schema):
    """What the sections of all of them have in common."""

    class Meta:
        unknown = RAISE

    api_key = fields.String(
        load_default=None,
        validate=[validate.Length(min=1), one_line],
        metadata={"description": "Key of the service. Local servers need none."},
    )
    headers = fields.Dict(
        keys=fields.String(validate=validate.Regexp(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")),
        values=fields.String(validate=one_line),
        load_default=dict,
        validate=no_own_headers,
        metadata={"description": "More headers for every request. Their values are treated as secrets."},
    )
    connect_timeout = seconds(10, "Seconds for a connection to be made, name look-up and TLS included.")
