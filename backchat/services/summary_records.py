"""What was said in short, as records, and what takes it away again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from backchat.domain.conversation import Conversation
from backchat.domain.times import stamp
from backchat.ports.memory import Summary
from backchat.ports.storage import Change, Kind, Purge, Put, Range, Record
from backchat.services.jobs import jobs_purge

SUMMARY = Kind(
    name="summary",
    fields=("conversation", "strategy", "seq"),
    indexes=(("conversation", "strategy", "seq"),),
    partition="conversation",
)


def summary_put(id: str, summary: Summary, covered: Record, strategy: str, now: datetime) -> Put:
    """Store a new one. ``covered`` is the newest message that is in it, ``strategy`` the name of the one it is by."""
    doc = {
        "conversation": covered.doc["conversation"],
        "strategy": strategy,
        "seq": covered.doc["seq"],
        "covers": covered.id,
        "text": summary.text,
        "created": stamp(now),
    }
    return Put(SUMMARY.name, id, doc, 0)


def summary_of(record: Record) -> Summary:
    return Summary(text=record.doc["text"], covers=record.doc["covers"])


def line_of(conversation: str) -> str:
    """The line of the jobs that sum the conversation up."""
    return f"summary {conversation}"


def outdated(conversation: Conversation, since: int = 0) -> Sequence[Change]:
    """What belongs to every batch that changes, moves or deletes messages of seqs from ``since`` on.

    It deletes the summaries that one of them may be in: those that reach as far, also of other branches; to tell the
    branches apart would take a look at all of them, and a summary can be made again. What is being summed up now is
    dropped with its job.
    """
    where = (("conversation", (conversation.id,)),)
    gone = Purge(SUMMARY.name, where, (Range("seq", low=since),))
    return [gone, jobs_purge(conversation.owner, [line_of(conversation.id)])]
