"""Tokens for an account's address and password, as djangorestframework-simplejwt gives them."""

from __future__ import annotations

from aiohttp import web

from backchat.services.sessions import Login
from backchat.web.dialect import Call
from backchat_dialect_workspaces.answering import json_answer


async def create_token(call: Call) -> web.Response:
    """The same answer, after the same time, for a wrong password and for an account that there is not."""
    found = await call.services.sessions.log_in(call.body["email"], call.body["password"])
    if found is None:
        return _refused("No active account found with the given credentials", "no_active_account")
    return _pair(found)


async def refresh_token(call: Call) -> web.Response:
    found = await call.services.sessions.renew(call.body["refresh"], rotate=True)
    return _pair(found) if found is not None else _refused("Token is invalid or expired", "token_not_valid")


async def verify_token(call: Call) -> web.Response:
    if await call.services.sessions.is_good(call.body["token"]):
        return json_answer({})
    return _refused("Token is invalid or expired", "token_not_valid")


def _pair(found: Login) -> web.Response:
    return json_answer({"access": found.access, "refresh": found.refresh}, headers={"Cache-Control": "no-store"})


def _refused(detail: str, code: str) -> web.Response:
    """Not by way of an error of the server: clients know these words, to the letter."""
    headers = {"WWW-Authenticate": 'JWT realm="api"'}
    return json_answer({"detail": detail, "code": code}, 401, headers)
