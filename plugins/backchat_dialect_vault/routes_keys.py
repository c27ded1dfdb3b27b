"""The routes of vault keys and tokens."""

from __future__ import annotations

from backchat.web.dialect import Route
from backchat_dialect_vault import answers, schemas
from backchat_dialect_vault import handlers_keys as keys
from backchat_dialect_vault.settings import keys as changes
from backchat_dialect_vault.statuses import BODY, KEYLESS, LIMITED, MISSING, UNFIT, statuses

PUSH, EITHER = ("push",), ("push", "pull")
"""What a key with scopes needs one of, besides the name of the dialect."""
REFUSED = {403: "The token lacks the scope, the other one may do more than it, or it is no API key"}

ROUTES = [
    Route(
        method="GET",
        path="/vault/key",
        handler=keys.get_key,
        summary="The vault key, wrapped for the calling token",
        query=schemas.KeySchema(),
        answer=answers.WrapSchema(),
        statuses=statuses(KEYLESS, {404: "There is no key of this id"}, ok="The wrapped key"),
        scopes=EITHER,
    ),
    Route(
        method="GET",
        path="/vault/keys",
        handler=keys.list_keys,
        summary="The vault keys that the calling token has",
        answer=answers.KeysSchema(),
        statuses=statuses(ok="The keys, without what they open with"),
        scopes=EITHER,
    ),
    Route(
        method="POST",
        path="/vault/key/rotate",
        handler=keys.rotate_key,
        summary="Make a new vault key for what is pushed from now on",
        body=schemas.RotateSchema(),
        answer=answers.KeyIdSchema(),
        statuses=statuses(
            BODY, KEYLESS, {409: "Others have the key that would be abandoned"}, LIMITED, ok="The new key's id"
        ),
        scopes=PUSH,
        limited=changes,
    ),
    Route(
        method="POST",
        path="/vault/recovery",
        handler=keys.make_recovery_key,
        summary="Make a recovery key, in place of the one before",
        body=schemas.NewRecoverySchema(),
        answer=answers.RecoveryKeySchema(),
        statuses=statuses(
            BODY,
            KEYLESS,
            {409: "Only the one before opens some of the keys"},
            LIMITED,
            ok="The recovery key, this once",
            status=201,
        ),
        scopes=PUSH,
        limited=changes,
    ),
    Route(
        method="POST",
        path="/vault/recover",
        handler=keys.recover_key,
        summary="Give the calling token, and those that wait, the vault key by the recovery key",
        body=schemas.RecoverSchema(),
        answer=answers.KeyIdSchema(),
        statuses=statuses(BODY, KEYLESS, LIMITED, ok="The vault key's id"),
        scopes=EITHER,
        limited=changes,
    ),
    Route(
        method="GET",
        path="/vault/tokens",
        handler=keys.list_tokens,
        summary="The caller's tokens that are neither revoked nor expired",
        answer=answers.TokensSchema(),
        statuses=statuses(ok="The tokens"),
        scopes=EITHER,
    ),
    Route(
        method="POST",
        path="/vault/tokens",
        handler=keys.issue_token,
        summary="Issue a further token, which has the vault key if the calling one has it",
        body=schemas.NewTokenSchema(),
        answer=answers.IssuedSchema(),
        statuses=statuses(BODY, REFUSED, LIMITED, ok="The token, this once", status=201),
        scopes=PUSH,
        limited=changes,
    ),
    Route(
        method="DELETE",
        path="/vault/tokens/{tokenId}",
        handler=keys.revoke_token,
        summary="Revoke a token",
        query=schemas.RevokeSchema(),
        statuses=statuses(
            UNFIT, MISSING, REFUSED, {409: "It is the last that has a vault key"}, LIMITED, ok="Revoked", status=204
        ),
        scopes=PUSH,
        limited=changes,
    ),
]
