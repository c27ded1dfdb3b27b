"""Logins, and what the server says of itself."""

from __future__ import annotations

from aiohttp import web

from backchat.errors import InvalidCredentials, MissingCredentials
from backchat.services.sessions import Login
from backchat.web.address import secure
from backchat.web.auth import ANONYMOUS, authenticate, credentials
from backchat.web.dialect import Call
from backchat_dialect_convos import shapes
from backchat_dialect_convos.answering import json_answer

COOKIE, KIND = "refreshToken", "token_provider"


async def login(call: Call) -> web.Response:
    email, password = call.body["email"], call.body["password"]
    if not email or not password:
        return json_answer({"message": "Invalid credentials"}, 400)
    found = await call.services.sessions.log_in(email, password)
    if found is None:
        known = await call.services.accounts.is_known(email)
        return json_answer({"message": "Incorrect password." if known else "Email does not exist."}, 404)
    return _logged_in(call, found)


async def refresh(call: Call) -> web.Response:
    token = call.request.cookies.get(COOKIE)
    if not token:
        return web.Response(text="Refresh token not provided")
    found = await call.services.sessions.renew(token)
    if found is None:
        return web.Response(text="Refresh token expired or not found for this user", status=401)
    return _logged_in(call, found)


async def logout(call: Call) -> web.Response:
    """End the session of the cookie, or of the access token; an expired one will do."""
    given = _access_token(call)
    await call.services.sessions.log_out(call.request.cookies.get(COOKIE), given)
    response = json_answer({"message": "Logout successful"})
    for name in (COOKIE, KIND):
        response.del_cookie(name, path="/", httponly=True, samesite="Strict", secure=secure(call.request))
    return response


def _access_token(call: Call) -> str | None:
    try:
        given = credentials(call.request)
    except InvalidCredentials:
        return None
    return given.token if given else None


def _logged_in(call: Call, found: Login) -> web.Response:
    response = json_answer({"token": found.access, "user": shapes.user(found.user)})
    age = max(0, round((found.refresh_until - call.services.conversations.now()).total_seconds()))
    for name, value in ((COOKIE, found.refresh), (KIND, "librechat")):
        response.set_cookie(
            name, value, max_age=age, path="/", httponly=True, samesite="Strict", secure=secure(call.request)
        )
    return response


async def get_user(call: Call) -> web.Response:
    account = await call.services.accounts.user(call.who.user)
    return json_answer(shapes.user(account) if account else shapes.caller(call.who))


# ---- the server -----------------------------------------------------------------------------------------------------


async def get_config(call: Call) -> web.Response:
    """More of it to those who have logged in; a bad token is as good as none."""
    try:
        who = await authenticate(call.request, credentials(call.request))
    except (MissingCredentials, InvalidCredentials):
        who = ANONYMOUS
    config = {
        "appTitle": "backchat",
        "serverDomain": f"{'https' if secure(call.request) else 'http'}://{call.request.host}",
        "emailLoginEnabled": True,
        "registrationEnabled": False,
        "socialLoginEnabled": False,
        "socialLogins": [],
        "emailEnabled": False,
        "passwordResetEnabled": False,
        "discordLoginEnabled": False,
        "facebookLoginEnabled": False,
        "githubLoginEnabled": False,
        "googleLoginEnabled": False,
        "appleLoginEnabled": False,
        "openidLoginEnabled": False,
        "samlLoginEnabled": False,
        "ldap": {"enabled": False},
    }
    if who is not ANONYMOUS:
        config |= {
            "interface": {"temporaryChat": True, "bookmarks": True},
            "balance": {"enabled": False},
            "sharedLinksEnabled": True,
            "publicSharedLinksEnabled": True,
            "conversationImportMaxFileSize": call.services.imports.limits.max_size,
            "instanceProjectId": "",
        }
    return json_answer(config)


async def search_enabled(call: Call) -> web.Response:
    return json_answer(True)


async def health(call: Call) -> web.Response:
    return web.Response(text="OK")
