"""Equal POSTs under one Idempotency-Key, with the server killed between or in the middle of them."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter

from bench.append import own_conversation
from bench.arena import workplace
from bench.load import Target
from bench.processes import upstream
from bench.report import Report
from bench.script import Script, reply_text, script
from bench.server import Backchat, backchat, configuration, get
from bench.soak.limits import Limits
from bench.wire import ask, request

TOKENS, GAP_MS = 30, 20
Said = tuple[int, bytes]


async def post(target: Target, asked: Script, conversation: str, idempotency: str) -> Said | None:
    """Status and body of ``POST /api/chat``; None if the connection broke."""
    body = {"text": asked.text, "conversation_id": conversation}
    data = request("POST", "/api/chat", body=body, key=target.key, headers={"Idempotency-Key": idempotency})
    try:
        exchange = await ask(target.port, data)
    except OSError:
        return None
    return (exchange.status, exchange.body()) if exchange.complete else None


async def calls(port: int) -> int:
    counts = (await ask(port, request("GET", "/stats"))).json()
    return int(counts["requests"])


async def one(server: Backchat, key: str, limits: Limits, chance: random.Random, *, between: bool) -> list[str]:
    """Half of the POSTs, a kill, the other half; ``between``: after the answers to the first half, else before."""
    conversation = await own_conversation(server.target(key))
    asked, idempotency = script(TOKENS, gap=GAP_MS), secrets.token_hex(16)
    before = await calls(limits.ports)
    half = limits.posts // 2
    target = server.target(key)
    tasks = [asyncio.create_task(post(target, asked, conversation, idempotency)) for _ in range(half)]
    if between:
        await asyncio.gather(*tasks)
    else:
        await asyncio.sleep(chance.uniform(0.05, TOKENS * GAP_MS / 1000))
    server.kill()
    first = await asyncio.gather(*tasks)
    server.start()
    target = server.target(key)
    second = await asyncio.gather(*[post(target, asked, conversation, idempotency) for _ in range(limits.posts - half)])
    violations = []
    made = await calls(limits.ports) - before
    if made > 1 or (between and made != 1):
        violations.append(f"{made} provider calls")
    answers = Counter([said for said in (*first, *second) if said is not None])
    if len(answers) != 1 or None in second or (between and None in first):
        shown = "; ".join(f"{times} x {status} {body[:120]!r}" for (status, body), times in answers.most_common(4))
        violations.append(f"{answers.total()} of {limits.posts} answered, {len(answers)} different answers: {shown}")
    messages = (await get(target, f"/api/chat/messages?conversation_id={conversation}&limit=100"))["messages"]
    said = sum(1 for message in messages if message["role"] == "user" and asked.nonce in message["content"])
    if said != 1:
        violations.append(f"{said} user messages")
    if between and messages[-1]["content"] != reply_text(asked):
        violations.append("the stored answer is not what the provider said")
    when = "after the first half" if between else "during the reply"
    return [f"killed {when}: {violation}" for violation in violations]


async def campaign(limits: Limits) -> Report:
    report = Report(
        "soak-once",
        f"{limits.posts} equal POSTs with one Idempotency-Key and a kill between: one user message, one provider call, "
        f"equal answers. {limits.repeats} times with the kill after half of the answers, as often during the reply.",
    )
    chance, done = random.Random(limits.seed), 0
    with (
        workplace(limits.directory) as directory,
        upstream(limits.ports, directory),
        backchat(directory, limits.ports + 2, configuration(limits.ports)) as server,
    ):
        key = server.create_key()
        server.start()
        for _ in range(limits.repeats):
            for between in (True, False):
                report.fault("violations", await one(server, key, limits, chance, between=between))
                done += 1
    report.add([{"campaigns": done, "POSTs": done * limits.posts, "violations": len(report.faults)}])
    return report
