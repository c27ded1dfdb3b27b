"""Vault keys, and the tokens that open them."""

from __future__ import annotations

from aiohttp import web

from backchat.web.dialect import Call
from backchat_dialect_vault import shapes
from backchat_dialect_vault.answering import json_answer


async def get_key(call: Call) -> web.Response:
    wrap = await call.services.vault_keys.wrapped(call.opened, call.query["keyId"])
    return json_answer(shapes.wrap(wrap, call.who.platform))


async def list_keys(call: Call) -> web.Response:
    return json_answer(shapes.keys(await call.services.vault_keys.keys(call.opened)))


async def rotate_key(call: Call) -> web.Response:
    made = await call.services.vault_keys.rotate(call.opened, abandon=call.body["abandon"])
    return json_answer({"success": True, "keyId": made})


async def make_recovery_key(call: Call) -> web.Response:
    made = await call.services.vault_keys.make_recovery(call.opened, abandon=call.body["abandon"])
    return json_answer({"success": True, "recoveryKey": made.text}, 201)


async def recover_key(call: Call) -> web.Response:
    current = await call.services.vault_keys.recover(call.opened, call.body["recoveryKey"])
    return json_answer({"success": True, "keyId": current})


async def list_tokens(call: Call) -> web.Response:
    return json_answer(shapes.tokens(await call.services.vault_keys.tokens(call.opened)))


async def issue_token(call: Call) -> web.Response:
    """The token can be had only now."""
    body = call.body
    made, text, has_key = await call.services.vault_keys.issue(
        call.opened,
        body["name"],
        platform=body["platform"],
        scopes=body["scopes"],
        expires=body["expiresAt"],
        recovery=body["recoveryKey"],
    )
    return json_answer({"success": True, "token": text, **shapes.token(made, has_key)}, 201)


async def revoke_token(call: Call) -> web.Response:
    await call.services.vault_keys.revoke(call.opened, call.path("tokenId"), abandon=call.query["abandon"])
    return web.Response(status=204)
