"""The routes of tokens. They are at the root, and public."""

from __future__ import annotations

from backchat.web.dialect import Route
from backchat_dialect_workspaces import handlers_tokens as tokens
from backchat_dialect_workspaces import schemas_media as schemas
from backchat_dialect_workspaces.settings import logins

ROUTES = [
    Route(
        method="POST",
        path="/auth/jwt/create/",
        handler=tokens.create_token,
        summary="Tokens for the address and the password of an account",
        body=schemas.LoginSchema(),
        answer=schemas.PairSchema(),
        statuses={
            200: "A token to call with, and one to renew it with",
            400: "Something is missing",
            401: "There is no such account, or the password is wrong",
            429: "Too many logins; see Retry-After",
        },
        limited=logins,
        public=True,
    ),
    Route(
        method="POST",
        path="/auth/jwt/refresh/",
        handler=tokens.refresh_token,
        summary="New tokens for a refresh token, which is good for nothing from then on",
        body=schemas.RefreshSchema(),
        answer=schemas.PairSchema(),
        statuses={200: "Both tokens", 400: "It is missing", 401: "It is unknown, used up or expired"},
        public=True,
    ),
    Route(
        method="POST",
        path="/auth/jwt/verify/",
        handler=tokens.verify_token,
        summary="Whether a token is good",
        body=schemas.VerifySchema(),
        answer=schemas.EmptySchema(),
        statuses={200: "It is", 400: "It is missing", 401: "It is not"},
        public=True,
    ),
]
