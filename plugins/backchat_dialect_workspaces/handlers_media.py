"""Recordings to text, texts to other languages, and what has been spent on it all."""

from __future__ import annotations

from contextlib import AsyncExitStack
from decimal import ROUND_HALF_EVEN, Decimal

from aiohttp import web

from backchat.web.dialect import Call
from backchat_dialect_workspaces.answering import json_answer
from backchat_dialect_workspaces.recording import Recording

CENT, TENTH = Decimal("0.01"), Decimal("0.1")


async def transcribe(call: Call) -> web.Response:
    async with AsyncExitStack() as stack:
        recording = Recording(call, stack)
        audio, size = await recording.audio()
        made = await call.services.transcriptions.transcribe(call.who, recording.workspace, audio, size)
    return json_answer({"text": made.text, "language": made.language or audio.language()})


async def translate(call: Call) -> web.Response:
    return await _translated(call, call.query)


async def translate_body(call: Call) -> web.Response:
    return await _translated(call, call.body)


async def _translated(call: Call, asked: dict[str, str | None]) -> web.Response:
    text, target, source = asked["text"] or "", asked["target"] or "", asked["source"]
    translated = await call.services.translation.translate(
        call.who, call.path("workspace_id"), text, target=target, source=source
    )
    told = {"text": text, "target": target, "translated_text": translated, "source": source}
    return json_answer(told, headers={"Cache-Control": "no-store"})


async def credit_usage(call: Call) -> web.Response:
    """What the caller has spent in the current period, and may; cents and tenths of a percent, rounded half to even."""
    spent = await call.services.ledger.spent(call.who)
    share = None
    if spent.limit is not None:
        # Of a limit of nothing, nothing is left.
        part = spent.total / spent.limit * 100 if spent.limit else Decimal(100)
        share = float(part.quantize(TENTH, ROUND_HALF_EVEN))
    return json_answer(
        {
            "total_credit_limit": None if spent.limit is None else _money(spent.limit),
            "total_cost": _money(spent.total),
            "percentage_used": share,
        },
        headers={"Cache-Control": "no-store"},
    )


def _money(dollars: Decimal) -> str:
    return str(dollars.quantize(CENT, ROUND_HALF_EVEN))
