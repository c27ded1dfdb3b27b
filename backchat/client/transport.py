"""HTTP to a vault: JSON there and back, tried again where that is safe, and what goes wrong in words for people."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from io import BytesIO
from math import inf
from typing import Any

import aiohttp
import orjson
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientSession, ClientTimeout
from yarl import URL

from backchat.client.errors import VaultError
from backchat.domain.vault import BODY_MAX

MOUNT = "/api/v1"
TIMEOUT = ClientTimeout(total=300, sock_connect=10, sock_read=60)
PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds before a request is tried again, if the server names no longer time."""
WAIT_MAX = 60.0
"""Seconds of all pauses of a request together."""
_UNAVAILABLE = (502, 503, 504)
_BROKEN = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError)
_NEVER_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_TOKEN = re.compile(r"[!-~]+")
MESSAGE_MAX = 500
SECRET_MIN = 16
"""Characters of a token; what is shorter is no secret, and may be a part of any word."""
_NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"}
"""What OpenSSL calls an answer that is none of TLS, in its different versions."""
ANSWER_MAX = 64 * 2**20
"""Bytes of an answer. Two entries of the largest size are less than half of it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``data`` is the JSON object of the answer, empty if it has no body, and ``size`` its length in bytes."""

    data: dict[str, Any] = field(repr=False)
    size: int


class Transport:
    """``url`` is the server's, with or without a slash or ``/api/v1`` at its end. VaultError if it cannot be one."""

    def __init__(self, url: str, token: str) -> None:
        self._url = _address(url)
        if _TOKEN.fullmatch(token) is None:
            raise VaultError("the API key holds blanks, or characters that no API key has", code="unauthorized")
        self._token = token
        self._session: ClientSession | None = None
        self._reached = False

    async def open(self) -> None:
        headers = {"Authorization": f"Bearer {self._token}"}
        self._session = ClientSession(timeout=TIMEOUT, headers=headers, middlewares=[_once])

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: dict[str, Any] | None = None,
        repeatable: bool = True,
    ) -> Answer:
        """The answer, if it is one of success.

        Tried again, a few times within ``WAIT_MAX``, is what has not reached the server or was told to come later
        (429), and of what is ``repeatable`` also what had no answer, or 502, 503 or 504. As long as no request has
        ever reached anybody, it is the URL that is wrong: that is told at once.
        """
        if self._session is None:
            raise RuntimeError("a client of the vault is an async context manager: async with VaultClient(...)")
        try:
            payload = None if body is None else orjson.dumps(body)
        except orjson.JSONEncodeError:
            raise VaultError("a text to be sent has no UTF-8 form", code="validation_error") from None
        if payload is not None and len(payload) > BODY_MAX:
            raise VaultError(f"the body is larger than {BODY_MAX} bytes", status=413, code="payload_too_large")
        url = self._url.joinpath(*path.split("/")).with_query(list(query))
        headers = {} if payload is None else {"Content-Type": "application/json"}
        waited, uncertain = 0.0, False
        for pause in (*PAUSES, inf):
            data = None if payload is None else BytesIO(payload)  # sent piece by piece, unlike bytes
            try:
                async with self._session.request(
                    method, url, data=data, headers=headers, allow_redirects=False
                ) as response:
                    self._reached = True
                    raw = await self._read(response, uncertain)
            except (_NoAnswer, *_BROKEN) as raised:
                error = raised.why if isinstance(raised, _NoAnswer) else raised
                sent = not isinstance(error, _NEVER_SENT)
                uncertain |= sent
                self._reached |= sent
                again = (repeatable or not sent) and self._reached and not isinstance(error, aiohttp.ClientSSLError)
                failure = VaultError(f"cannot reach {self._url}: {reason(error)}", uncertain=uncertain)
                later = 0.0
            except aiohttp.ClientError:
                # Not HTTP, or not as it should be. What aiohttp has to say about it may hold the request's headers.
                raise self._not_a_vault("its answer is not HTTP", 0, uncertain) from None
            else:
                if response.status in (200, 201, 204):
                    return self._answer(response.status, raw)
                uncertain |= response.status in _UNAVAILABLE
                again = response.status == HTTPStatus.TOO_MANY_REQUESTS or (
                    repeatable and response.status in _UNAVAILABLE
                )
                failure = self._refusal(response, raw, uncertain)
                later = _retry_after(response)
            wait = max(pause, later)
            waited += wait
            if not again or waited > WAIT_MAX:
                raise failure from None
            await sleep(wait)
        raise AssertionError("nobody waits for ever")

    async def _read(self, response: ClientResponse, uncertain: bool) -> bytes:
        """The body. VaultError (``too_large``) as soon as it is more than anything that is asked for can have."""
        pieces, size = list[bytes](), 0
        async for piece in response.content.iter_any():
            size += len(piece)
            if size > ANSWER_MAX:
                raise VaultError(
                    f"the answer of {self._url} is too large: it has more than {ANSWER_MAX} bytes",
                    status=response.status,
                    code="too_large",
                    uncertain=uncertain or response.method != "GET",
                )
            pieces.append(piece)
        return b"".join(pieces)

    def _answer(self, status: int, raw: bytes) -> Answer:
        if status == HTTPStatus.NO_CONTENT:
            return Answer({}, 0)
        data = _json(raw)
        if not isinstance(data, dict):
            raise self._not_a_vault("its answer is not a JSON object", status)
        return Answer(data, len(raw))

    def _refusal(self, response: ClientResponse, raw: bytes, uncertain: bool) -> VaultError:
        status = response.status
        told = _json(raw)
        if (
            status < 400
            or not isinstance(told, dict)
            or told.get("success") is not False
            or not isinstance(told.get("error"), str)
            or not isinstance(told.get("message"), str)
        ):
            return self._not_a_vault(_in_words(response), status, uncertain)
        fields = _fields(told.get("details"))
        message = told["message"]
        for name, texts in fields.items():
            message += "".join([f"; {name}: {text}" for text in texts if text not in message])
        version = told.get("version")
        return VaultError(
            self._shown(message),
            status=status,
            code=told["error"],
            fields=fields,
            version=version if type(version) is int else None,
            uncertain=uncertain,
        )

    def _not_a_vault(self, why: str, status: int, uncertain: bool = False) -> VaultError:
        # What is in the way answers 5xx in words of its own, and behind it may be a vault.
        if status >= 500:
            return VaultError(f"{self._url} answers {why}", status=status, code="internal_error", uncertain=uncertain)
        return VaultError(f"{self._url} is not a vault: {why}", status=status, code="not_a_vault", uncertain=uncertain)

    def _shown(self, text: str) -> str:
        """As it may be shown: short, unable to command a terminal, and without the token, if the server repeats it."""
        if len(self._token) >= SECRET_MIN:
            text = text.replace(self._token, "(the API key)")
        return _CONTROL.sub(" ", text)[:MESSAGE_MAX]


class _NoAnswer(Exception):
    """A try that broke before its answer began, and why."""

    def __init__(self, why: Exception) -> None:
        super().__init__()
        self.why = why


async def _once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Keep aiohttp from trying again what broke: it would do so with a DELETE, and tell nobody."""
    try:
        return await handler(request)
    except _BROKEN as error:
        raise _NoAnswer(error) from None


async def sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)


def reason(error: BaseException) -> str:
    """Why a connection did not come about or broke, for people."""
    inner = getattr(error, "os_error", None)
    if inner is None:
        return str(error) or type(error).__name__
    if isinstance(inner, ssl.SSLError):  # its numbers are OpenSSL's own
        if inner.reason in _NO_TLS:
            return "the server does not speak TLS there: its URL may begin with http://"
        return f"TLS: {(inner.reason or 'it failed').lower().replace('_', ' ')}"
    # A resolver's numbers are below zero, and asyncio's own words for the others name sockets, not reasons.
    return os.strerror(inner.errno) if inner.errno and inner.errno > 0 else inner.strerror or str(inner)


def _address(text: str) -> URL:
    """Where the vault's routes are. No word of a refused one is repeated: a password may be in it."""
    try:
        url = URL(text.strip())
        fits = url.scheme in ("http", "https") and bool(url.host)
    except ValueError:
        fits = False
    if not fits:
        raise VaultError("the URL of the server must begin with http:// or https://, and name a host")
    if url.user is not None or url.password is not None or url.raw_query_string or url.raw_fragment:
        raise VaultError("the URL of the server must have no user, password, query or fragment: give the API key apart")
    return url.with_path(url.raw_path.rstrip("/").removesuffix(MOUNT).rstrip("/") + MOUNT, encoded=True)


def _json(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def _in_words(response: ClientResponse) -> str:
    try:
        words = f"{response.status} {HTTPStatus(response.status).phrase}"
    except ValueError:
        words = str(response.status)
    if 300 <= response.status < 400:
        return f"{words}, a redirect, which is not followed with an API key"
    return words


def _fields(details: Any) -> dict[str, list[str]]:
    if not isinstance(details, dict):
        return {}
    return {
        name: [text for text in texts if isinstance(text, str)]
        for name, texts in details.items()
        if isinstance(texts, list)
    }


def _retry_after(response: ClientResponse) -> float:
    """Seconds, 0 if the answer names none. The header has either seconds or a time (RFC 9110, 10.2.3)."""
    told = response.headers.get("Retry-After", "").strip()
    if re.fullmatch("[0-9]{1,9}", told):
        return float(told)
    try:
        moment = parsedate_to_datetime(told)
    except ValueError:
        return 0.0
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
