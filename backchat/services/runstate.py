"""Runs, and what keeps them honest across processes, as records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from backchat.domain.message import ToolCall
from backchat.domain.recipe import Recipe
from backchat.domain.run import Decision, Failure, Run
from backchat.domain.settings import Sampling
from backchat.domain.times import moment, stamp
from backchat.domain.tool import ToolDefinition
from backchat.domain.workspace import personal_workspace
from backchat.ports.storage import Kind, Put, Record
from backchat.services.stored import sampling_doc, usage_doc, usage_of

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
        "author": r.author,
        "workspace": r.workspace,
        "input": r.input,
        "seq": r.seq,
        "answer": r.answer,
        "parent": r.parent,
        "provider": r.provider,
        "model": r.model,
        "worker": r.worker,
        "status": r.status,
        "created": stamp(r.created_at),
        "ended": stamp(r.ended_at) if r.ended_at else None,
        "expires": stamp(r.expires_at) if r.expires_at else None,
        "recipe": recipe_doc(r.recipe),
        "position": r.position,
        "began": r.began,
        "options": r.options,
    }
    if r.again is not None:
        doc["again"] = r.again
    if r.confirm:
        doc["confirm"] = list(r.confirm)
    if r.decided:
        doc["decided"] = {id: [d.allow, d.reason] for id, d in r.decided.items()}
    if r.allowed:
        doc["allowed"] = [[c.id, c.name, c.arguments] for c in r.allowed]
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
        author=d.get("author", d["owner"]),
        workspace=d.get("workspace") or personal_workspace(d["owner"]),
        input=d["input"],
        seq=d["seq"],
        answer=d["answer"],
        parent=d["parent"],
        provider=d["provider"],
        model=d["model"],
        worker=d["worker"],
        status=d["status"],
        created_at=moment(d["created"]),
        ended_at=moment(d["ended"]) if d["ended"] else None,
        expires_at=moment(d["expires"]) if d["expires"] else None,
        recipe=recipe_of(d["recipe"]),
        position=d["position"],
        began=d["began"],
        again=d.get("again"),
        confirm=tuple(d.get("confirm", ())),
        decided={id: Decision(*said) for id, said in d.get("decided", {}).items()},
        allowed=tuple([ToolCall(*call) for call in d.get("allowed", ())]),
        options=d["options"],
        usage=usage_of(usage) if usage else None,
        failure=Failure(failure["kind"], failure["code"], failure["message"]) if failure else None,
        version=record.version,
    )


_PLAIN = Recipe(providers=())


def recipe_doc(recipe: Recipe) -> dict[str, Any]:
    """What differs from a plain recipe: most are nearly plain, and there is one in every run."""
    doc = {f.name: getattr(recipe, f.name) for f in fields(Recipe)}
    doc = {name: value for name, value in doc.items() if value != getattr(_PLAIN, name)}
    if "sampling" in doc:
        doc["sampling"] = sampling_doc(recipe.sampling)
    if recipe.tools:
        doc["tools"] = [[t.name, t.description, t.parameters, t.strict] for t in recipe.tools]
    return doc


def recipe_of(doc: Mapping[str, Any]) -> Recipe:
    tools = tuple([ToolDefinition(*tool) for tool in doc.get("tools", ())])
    sampling = Sampling(**doc.get("sampling", {}))
    named = {name: tuple(doc.get(name, ())) for name in ("providers", "server_tools")}
    return Recipe(**{**doc, **named, "tools": tools, "sampling": sampling})
