"""Runs, and what keeps them honest across processes, as records."""

from __future__ import annotations

from backchat.domain.run import Failure, Run
from backchat.domain.times import moment, stamp
from backchat.ports.storage import Kind, Put, Record
from backchat.services.stored import usage_doc, usage_of

RUN = Kind(
    name="run",
    fields=("conversation", "seq", "status", "expires"),
    indexes=(("conversation", "seq"), ("status",), ("expires",)),
    partition="conversation",
)
WORKER = Kind(name="worker")
CANCEL = Kind(name="cancel", fields=("worker",), indexes=(("worker",),))
IDEMPOTENCY = Kind(name="idempotency", fields=("expires",), indexes=(("expires",),))


def run_put(r: Run) -> Put:
    """Store a run as the successor of the version it carries; version 0 is a new one."""
    doc = {
        "conversation": r.conversation,
        "owner": r.owner,
        "input": r.input,
        "seq": r.seq,
        "answer": r.answer,
        "provider": r.provider,
        "model": r.model,
        "worker": r.worker,
        "status": r.status,
        "created": stamp(r.created_at),
        "ended": stamp(r.ended_at) if r.ended_at else None,
        "expires": stamp(r.expires_at) if r.expires_at else None,
        "options": r.options,
    }
    if r.usage is not None:
        doc["usage"] = usage_doc(r.usage)
    if r.failure is not None:
        doc["failure"] = {"kind": r.failure.kind, "code": r.failure.code, "message": r.failure.message}
    return Put("run", r.id, doc, r.version)


def run_of(record: Record) -> Run:
    d = record.doc
    usage, failure = d.get("usage"), d.get("failure")
    return Run(
        id=record.id,
        conversation=d["conversation"],
        owner=d["owner"],
        input=d["input"],
        seq=d["seq"],
        answer=d["answer"],
        provider=d["provider"],
        model=d["model"],
        worker=d["worker"],
        status=d["status"],
        created_at=moment(d["created"]),
        ended_at=moment(d["ended"]) if d["ended"] else None,
        expires_at=moment(d["expires"]) if d["expires"] else None,
        options=d["options"],
        usage=usage_of(usage) if usage else None,
        failure=Failure(failure["kind"], failure["code"], failure["message"]) if failure else None,
        version=record.version,
    )
