"""Summing conversations up: the job that follows a reply after which the memory strategy has something to do.

No turn waits for it: the next one is shown what there is. It asks the model that answered. A job holds nothing of what
was said; a change of a message drops it (``summary_records.outdated``), so that what it has read is neither stored nor
sent anywhere after that. Of several that wait for each other only the last one does anything: it has read what the
others had, and another branch is due again after its next reply. A conversation of which no summary can be made is
tried ever more seldom.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta

import structlog

from backchat.domain.message import Text
from backchat.domain.run import Run
from backchat.errors import BackchatError, Internal, NotConfigured, ProviderError
from backchat.ports.memory import Ask
from backchat.ports.providers import ModelRequest, PromptMessage
from backchat.ports.storage import Change, Purge, Query, Range, RecordStore, Require
from backchat.services.booking import payer_of
from backchat.services.calls import Calls
from backchat.services.jobs import JOB, Job, Jobs
from backchat.services.paths import Path
from backchat.services.providers import Configured, Providers
from backchat.services.runstate import RUN, run_of
from backchat.services.stored import CONVERSATION, MESSAGE
from backchat.services.strategies import Strategies
from backchat.services.summary_records import SUMMARY, line_of, summary_put

log = structlog.get_logger(source=__name__)

TOPIC = "summary"
LIMIT = 120.0
MOST_ANSWER = 32_000
KEPT = 5
"""Summaries of a path that are kept: older ones are for branches that leave it, and for when newer ones are dropped."""
PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(days=1)
"""After two failures in a row, and at most: each further one doubles the pause."""
MOST_FAILING = 10_000
"""Conversations whose failures a process remembers; they are forgotten with it."""


class _Dropped(Exception):
    """The job is no longer there, or no longer this process'."""


class Summaries:
    """Also the handler of its jobs. ``limit``: seconds that one answer of a model may take."""

    def __init__(
        self,
        store: RecordStore,
        strategies: Strategies,
        providers: Providers,
        calls: Calls,
        jobs: Jobs,
        now: Callable[[], datetime],
        *,
        limit: float = LIMIT,
    ) -> None:
        self._store, self._strategies, self._providers = store, strategies, providers
        self._calls, self._jobs, self._now, self._limit = calls, jobs, now, limit
        self._failing: OrderedDict[str, tuple[int, datetime]] = OrderedDict()
        """By line: how often in a row it has failed, and until when it is not tried again."""

    def job(self, run: Run) -> Job | None:
        """The job for a completed run whose strategy says that it is due; stored by the caller.

        None if the model that answered does not do what it is told, and for a while after it has failed repeatedly.
        """
        answered = self._providers.configured.get(run.provider)
        if answered is None or not answered.provider.abilities.instructions:
            return None
        line = line_of(run.conversation)
        if line in self._failing and self._now() < self._failing[line][1]:
            return None
        return self._jobs.job(TOPIC, owner=run.owner, line=line, payload={"run": run.id})

    async def work(self, job: Job) -> Sequence[Change]:
        """The new summary, if there is one; quiet when what it is about is gone.

        Raises InsufficientCredits, ProviderError, and NotConfigured for a strategy or provider that is gone.
        """
        record = await self._store.get(RUN.name, job.payload["run"])
        if record is None or await self._is_overtaken(job):
            return []
        run = run_of(record)
        name, strategy, path = self._strategies.of(self._store, run, run.answer)
        try:
            made = await strategy.review(path, self._ask(job, run, self._answered(run)))
        except _Dropped:
            return []
        self._failing.pop(job.line, None)
        if made is None:
            return []
        covered = await self._store.get(MESSAGE.name, made.covers)
        if covered is None:  # deleted meanwhile
            return []
        if covered.doc["conversation"] != run.conversation:
            raise Internal(f"the memory strategy {name!r} made a summary of something else")
        log.info("summary.made", run=run.id, strategy=name, provider=run.provider)
        there = Require(CONVERSATION.name, run.conversation)
        surplus = await _surplus(run.conversation, path)
        return [there, *surplus, summary_put(job.id, made, covered, name, self._now())]

    async def failed(self, job: Job, error: BackchatError) -> Sequence[Change]:
        """There is none; the next reply is due again, or a later one."""
        if isinstance(error, ProviderError | Internal):  # what others raise, they do before the model is asked
            times = self._failing.pop(job.line, (0, self._now()))[0] + 1
            pause = min(PAUSE * 2 ** min(times - 2, 20), LONGEST_PAUSE) if times > 1 else timedelta()
            self._failing[job.line] = times, self._now() + pause
            if len(self._failing) > MOST_FAILING:
                self._failing.popitem(last=False)
        return []

    async def _is_overtaken(self, job: Job) -> bool:
        """Whether a later reply of the conversation waits to be summed up as well."""
        where = (("owner", (job.owner,)), ("line", (job.line,)))
        later = await self._store.find(Query(kind=JOB.name, where=where, ranges=(Range("id", low=job.id),), limit=2))
        return any(record.id != job.id for record in later)

    def _answered(self, run: Run) -> Configured:
        configured = self._providers.configured.get(run.provider)
        if configured is None:
            raise NotConfigured(f"the provider {run.provider!r}, which answered, is not configured any more")
        return configured

    def _ask(self, job: Job, run: Run, answered: Configured) -> Ask:
        model = run.model if run.provider == run.recipe.providers[0] else None

        async def ask(instructions: str, text: str) -> str:
            record = await self._store.get(JOB.name, job.id)
            if record is None or record.version != job.version:
                raise _Dropped
            request = ModelRequest(messages=[PromptMessage("user", (Text(text),))], model=model, system=instructions)
            return await self._calls.text(
                payer_of(run), "summary", answered, request, limit=self._limit, most=MOST_ANSWER
            )

        return ask


async def _surplus(conversation: str, path: Path) -> Sequence[Change]:
    """What deletes summaries that a new one makes too many. Of far too many, two: the whole path is not read for it."""
    found: list[str] = []
    async with aclosing(path.summaries()) as summaries:
        async for record in summaries:
            found.append(record.id)
            if len(found) > KEPT:
                break
    surplus = tuple(found[KEPT - 1 :])
    return [Purge(SUMMARY.name, (("conversation", (conversation,)), ("id", surplus)))] if surplus else []
