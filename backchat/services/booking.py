"""What the calls of a run cost: a record for each.

That of the last call of a part of a run is stored with the end of the part. Those before it are stored with the event
``CallEnded``, so that the next call is refused to whoever has spent their credit with this one; and what is in the log
of a run whose process died is booked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import structlog

from backchat.domain.message import Image, Usage
from backchat.domain.run import CallEnded, MemoriesRecalled, Run
from backchat.domain.usage import Payer
from backchat.ports.providers import Abilities, Citation, ModelRequest, PromptMessage
from backchat.ports.storage import Put, RecordStore
from backchat.services.estimates import tokens_asked, tokens_of
from backchat.services.ledger import Ledger
from backchat.services.prompts import prompt_messages
from backchat.services.said import Said
from backchat.services.strategies import Strategies

log = structlog.get_logger(source=__name__)
PATIENCE = 10.0
"""Seconds that finding what a model was shown may take."""
_BLIND = Abilities(vision=False)


def payer_of(run: Run) -> Payer:
    return Payer(user=run.author, workspace=run.workspace, conversation=run.conversation, run=run.id)


def booking(ledger: Ledger, run: Run, call: CallEnded, number: int) -> Put:
    """The record of a call, by its number in this part of the run, from 1: none is booked twice."""
    id = f"{run.id}.{run.began}.{number}"
    entry = ledger.entry(payer_of(run), "reply", call.provider, call.model, call.usage, id=id, estimated=call.estimated)
    return ledger.booked(entry)


async def unbooked(store: RecordStore, booked: Sequence[Put]) -> list[Put]:
    """Those that are not in the store yet: what another process has booked of the same call is left as it is."""
    return [put for put in booked if await store.get(put.kind, put.id) is None]


async def cut_off(
    store: RecordStore, strategies: Strategies, run: Run, said: Said, recalled: Sequence[MemoriesRecalled]
) -> CallEnded | None:
    """The call that a dead process was making, by the length of its prompt and of what came of it; None if none was.

    A process spends its time waiting for the model, or for tools. So one whose log does not say that tools were at
    work was making a call, even if nothing had come of it; the service has read the prompt then. Of what grounded the
    answer, the memories are in its log; passages are not, and are not counted. Nor are the messages before it if the
    memory strategy fails, or takes too long.
    """
    step = said.current
    if run.allowed:  # they are run before the model is asked
        return None
    if step is None and said.steps and len(said.steps[-1].answers) < len(said.steps[-1].calls):
        return None
    earlier = [m for s in said.steps if s is not step for m in s.prompt()]
    past, summary = await _shown(store, strategies, run)
    request = ModelRequest(
        messages=[*past, *earlier],
        system=run.recipe.system,
        summary=summary,
        citations=[Citation("memory", m.content) for e in recalled for m in e.memories],
    )
    usage = Usage(tokens_asked(request), tokens_of(step.characters) if step is not None else 0)
    last = said.calls[-1] if said.calls else None
    return CallEnded(last.provider if last else run.provider, last.model if last else run.model, usage, True)


async def _shown(store: RecordStore, strategies: Strategies, run: Run) -> tuple[Sequence[PromptMessage], str]:
    """The stored messages that the model saw, without images, and the summary; none if that cannot be told."""
    try:
        async with asyncio.timeout(PATIENCE):
            shown = await strategies.shown(store, run)
            seen = [replace(m, parts=tuple([p for p in m.parts if type(p) is not Image])) for m in shown.messages]
            return await prompt_messages(store, seen, _BLIND), shown.summary
    except Exception:  # a plugin's, as a rule: the end of the run does not wait for it to be mended
        log.exception("run.prompt_not_counted", run=run.id)
        return [], ""
