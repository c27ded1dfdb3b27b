"""Summing conversations up: the job that follows a reply after which the memory strategy has something to do.

No turn waits for it: the next one is shown what there is. It asks the model that answered. A job holds nothing of what
was said; a change of a message drops it (``summary_records.outdated``), so that what it has read is not stored after
that. Of several that wait for each other only the last one does anything: it has read what the others had, and another
branch is due again after its next reply.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from backchat.domain.message import Text
from backchat.domain.run import Run
from backchat.errors import BackchatError, Internal, NotConfigured
from backchat.ports.memory import Ask
from backchat.ports.providers import ModelRequest, PromptMessage
from backchat.ports.storage import Change, Query, Range, RecordStore, Require
from backchat.services.booking import payer_of
from backchat.services.calls import Calls
from backchat.services.jobs import JOB, Job, Jobs
from backchat.services.providers import Configured, Providers
from backchat.services.runstate import RUN, run_of
from backchat.services.stored import CONVERSATION, MESSAGE
from backchat.services.strategies import Strategies
from backchat.services.summary_records import line_of, summary_put

log = structlog.get_logger(source=__name__)

TOPIC = "summary"
LIMIT = 120.0
MOST_ANSWER = 32_000


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

    def job(self, run: Run) -> Job | None:
        """The job for a completed run whose strategy says that it is due; stored by the caller.

        None if the model that answered does not do what it is told.
        """
        answered = self._providers.configured.get(run.provider)
        if answered is None or not answered.provider.abilities.instructions:
            return None
        line = line_of(run.conversation)
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
        made = await strategy.review(path, self._ask(run, self._answered(run)))
        if made is None:
            return []
        covered = await self._store.get(MESSAGE.name, made.covers)
        if covered is None:  # deleted meanwhile
            return []
        if covered.doc["conversation"] != run.conversation:
            raise Internal(f"the memory strategy {name!r} made a summary of something else")
        log.info("summary.made", run=run.id, strategy=name, provider=run.provider)
        there = Require(CONVERSATION.name, run.conversation)
        return [there, summary_put(job.id, made, covered, name, self._now())]

    async def failed(self, job: Job, error: BackchatError) -> Sequence[Change]:
        """There is none; the next reply is due again."""
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

    def _ask(self, run: Run, answered: Configured) -> Ask:
        model = run.model if run.provider == run.recipe.providers[0] else None

        async def ask(instructions: str, text: str) -> str:
            request = ModelRequest(messages=[PromptMessage("user", (Text(text),))], model=model, system=instructions)
            return await self._calls.text(
                payer_of(run), "summary", answered, request, limit=self._limit, most=MOST_ANSWER
            )

        return ask
