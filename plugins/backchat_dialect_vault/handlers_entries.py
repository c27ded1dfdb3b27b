"""Pushing, pulling, reading, deleting and adopting entries."""

from __future__ import annotations

from aiohttp import web

from backchat.services.vault import VaultFilter
from backchat.services.vault_records import VERSION_WEIGHT
from backchat.web.dialect import Call
from backchat.web.downloads import download
from backchat_dialect_vault import shapes
from backchat_dialect_vault.answering import JSON, content_answer, json_answer, pulled
from backchat_dialect_vault.opening import number

ALL = "all"


async def push(call: Call) -> web.Response:
    return json_answer(shapes.pushed(await call.services.vault.push(call.opened, call.body)))


async def pull(call: Call) -> web.StreamResponse:
    query, vault = call.query, call.services.vault
    platform = None if query["platform"] is None else query["platform"].lower()
    wanted = VaultFilter(
        platform=platform,
        category=query["category"],
        chat=query["chatId"],
        tags=query["tag"],
        words=query["search"],
    )
    total = await vault.count(call.who, wanted)
    groups = vault.pull(call.who, wanted, limit=query["limit"], offset=query["offset"])
    told = pulled(total, ALL if platform is None else platform, groups)
    return await download(call, told, {"Content-Type": JSON})


async def get_entry(call: Call) -> web.Response:
    entry, content = await call.services.vault.entry(call.who, number(call, "entryId"))
    return await content_answer(lambda: shapes.entry(entry, content), len(content.data))


async def list_versions(call: Call) -> web.Response:
    _, versions = await call.services.vault.versions(call.who, number(call, "entryId"))
    return await content_answer(lambda: shapes.versions(versions), len(versions) * VERSION_WEIGHT)


async def get_version(call: Call) -> web.Response:
    _, version, content = await call.services.vault.version(call.who, number(call, "entryId"), number(call, "version"))
    return await content_answer(lambda: shapes.sealed_version(version, content), len(content.data))


async def delete_entry(call: Call) -> web.Response:
    await call.services.vault.delete(call.who, number(call, "entryId"))
    return web.Response(status=204)


async def adopt_entry(call: Call) -> web.Response:
    """A conversation of the messages, which the caller has decrypted."""
    entry = number(call, "entryId")
    made = await call.services.adopting.adopt(call.who, entry, call.body["messages"])
    return json_answer(shapes.adopted(entry, made), 201)
