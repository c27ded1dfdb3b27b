"""Addresses of pages as a model or a redirect gives them: read once, strictly, the way they are then connected to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from yarl import URL

from backchat.ports.tools import ToolFailed
from backchat_web.addresses import Rules

NOT_PUBLIC = "this server fetches pages of the public internet only, and finds no such host there"
_UNREADABLE = "this is not the address of a page; give a complete http or https URL"
# Other programs read these in other ways than this one.
_AMBIGUOUS = re.compile(r"[\x00-\x1f\x7f\\]")
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*\Z")
_NUMBER = re.compile(r"(?:\d+|0x[0-9a-f]*)\Z")
"""A last label with which programs take a name for an IPv4 address (https://url.spec.whatwg.org/#ends-in-a-number-checker)."""


@dataclass(frozen=True, slots=True)
class Target:
    """``name`` is the host's, in lower case and without a final dot; None if it is an address.

    Names have been checked, so that none is looked up that is not to be; addresses are checked when they are connected
    to, those of names as well.
    """

    url: URL
    name: str | None


def target_of(text: str, rules: Rules, ports: frozenset[int], base: URL | None = None) -> Target:
    """The page at this URL, which may be relative to ``base``. Raises ToolFailed for what must not be asked for."""
    if _AMBIGUOUS.search(text.strip()):
        raise ToolFailed(_UNREADABLE)
    try:
        given = URL(text.strip())
        url = given if base is None else base.join(given)
        port = url.port
    except ValueError:
        raise ToolFailed(_UNREADABLE) from None
    if url.scheme not in ("http", "https"):
        raise ToolFailed("only http and https are fetched")
    if given.scheme and not given.raw_host:  # which some take for relative, and others repair
        raise ToolFailed(_UNREADABLE)
    if url.user is not None or url.password is not None:
        raise ToolFailed("a URL with a user name or a password is not fetched")
    if port not in ports:
        raise ToolFailed("pages at this port are not fetched")
    # The host after everything that may be done to it: fullwidth digits and the like are plain ones by now.
    host = url.raw_host or ""
    if _is_address(host):
        return Target(url, None)
    name = host.removesuffix(".")
    if not _NAME.match(name):
        raise ToolFailed(_UNREADABLE)
    if not rules.permit_name(name):
        raise ToolFailed(NOT_PUBLIC)
    return Target(url, name)


def _is_address(host: str) -> bool:
    """Whether the host is one, and not a name. Raises ToolFailed for an address in any but its usual spelling."""
    if ":" not in host and not _NUMBER.match(host.removesuffix(".").rpartition(".")[2]):
        return False
    try:
        ip_address(host)
    except ValueError:
        raise ToolFailed(_UNREADABLE) from None
    return True
