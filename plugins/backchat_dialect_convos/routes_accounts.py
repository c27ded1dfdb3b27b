"""The routes of logins, and of what the server says of itself."""

from __future__ import annotations

from backchat.web.dialect import Route
from backchat_dialect_convos import answers, schemas
from backchat_dialect_convos import handlers_accounts as accounts
from backchat_dialect_convos.routes_convos import LIMITED, statuses
from backchat_dialect_convos.settings import logins

ROUTES = [
    Route(
        method="POST",
        path="/api/auth/login",
        handler=accounts.login,
        summary="Log in with an address or a name, and a password",
        body=schemas.LoginSchema(),
        answer=answers.LoginAnswerSchema(),
        statuses={
            200: "A token, the user, and cookies to renew the token with",
            400: "Something is missing",
            404: "There is no such user, or the password is wrong",
            **LIMITED,
        },
        limited=logins,
        public=True,
    ),
    Route(
        method="POST",
        path="/api/auth/refresh",
        handler=accounts.refresh,
        summary="A new token, for the cookie of a login",
        answer=answers.LoginAnswerSchema(),
        statuses={200: "A token and the user; text if there is no cookie", 401: "The login has ended"},
        public=True,
    ),
    Route(
        method="POST",
        path="/api/auth/logout",
        handler=accounts.logout,
        summary="End a login",
        answer=answers.LogoutSchema(),
        statuses={200: "It has ended"},
        public=True,
    ),
    Route(
        method="GET",
        path="/api/user",
        handler=accounts.get_user,
        summary="Who is calling",
        answer=answers.UserSchema(),
        statuses=statuses(ok="The user"),
    ),
    Route(
        method="GET",
        path="/api/config",
        handler=accounts.get_config,
        summary="What a web client asks for first; more of it with a token",
        answer=answers.ConfigSchema(),
        statuses={200: "The configuration"},
        public=True,
    ),
    Route(
        method="GET",
        path="/api/search/enable",
        handler=accounts.search_enabled,
        summary="Whether conversations can be searched: true",
        statuses=statuses(ok="true"),
    ),
    Route(
        method="GET",
        path="/health",
        handler=accounts.health,
        summary="The process answers",
        statuses={200: "OK"},
        public=True,
    ),
    Route(
        method="GET",
        path="/livez",
        handler=accounts.health,
        summary="The same",
        statuses={200: "OK"},
        public=True,
    ),
]
