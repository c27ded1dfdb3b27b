"""Why a model stopped, where it was not at the end: nobody is to take a part for the whole."""

from __future__ import annotations

from typing import Literal

import pytest

from backchat.domain.identity import Identity
from backchat.ports.providers import Finish
from backchat.testing.plugin import Serve
from backchat.testing.provider import ScriptedProvider
from backchat.testing.server import events

pytestmark = pytest.mark.any_storage
CONFIG = {"providers": {"scripted": {"use": "scripted"}}}


@pytest.mark.parametrize("why", ["length", "content_filter"])
async def test_an_answer_that_was_cut_off_says_so(serve: Serve, why: Literal["length", "content_filter"]) -> None:
    box = await serve(CONFIG, [ScriptedProvider(["Half ", Finish(why)])])
    ann = await box.key()
    whole = await (await box.client.post("/api/chat", headers=ann, json={"text": "Go"})).json()
    assert (whole["reply"], whole["finish"]) == ("Half ", why)
    shown = await events(await box.client.post("/api/chat/stream", headers=ann, json={"text": "Go"}))
    assert (shown[-1][0], shown[-1][2]["finish"]) == ("done", why)
    query = {"conversation_id": whole["conversation_id"]}
    kept = await (await box.client.get("/api/chat/messages", headers=ann, params=query)).json()
    assert kept["messages"][-1]["finish"] == why
    body = {"content": "Go", "stream": "true"}
    frames = await events(await box.client.post("/api/threads/messages", headers=ann, data=body))
    assert frames[-1][2]["finish_reason"] == why


async def test_an_answer_that_came_to_its_end_says_nothing_of_it(serve: Serve) -> None:
    box = await serve(CONFIG, [ScriptedProvider(["All."])])
    ann = await box.key()
    whole = await (await box.client.post("/api/chat", headers=ann, json={"text": "Go"})).json()
    assert "finish" not in whole
    shown = await events(await box.client.post("/api/chat/stream", headers=ann, json={"text": "Go"}))
    assert "finish" not in shown[-1][2]


async def test_an_answer_that_was_withheld_is_no_success(serve: Serve) -> None:
    box = await serve(CONFIG, [ScriptedProvider([Finish("content_filter")])])
    ann = await box.key()
    answer = await box.client.post("/api/chat", headers=ann, json={"text": "Go"})
    assert (answer.status, (await answer.json())["detail"]) == (502, "the model service withheld its answer")


async def test_what_is_recorded_costs_what_it_costs(serve: Serve, tmp_path: object) -> None:
    inner = {"use": "scripted"}
    section = {"use": "record", "path": f"{tmp_path}/recordings", "provider": inner}
    prices = {"prices": {"scripted/scripted-1": {"output": 1_000_000}}}
    box = await serve({"providers": {"kept": section}, "credits": prices}, [ScriptedProvider(["Words and words."])])
    ann = await box.key()
    await box.client.post("/api/chat", headers=ann, json={"text": "Go"})
    await box.services.ledger.count()
    spent = await box.services.ledger.spent(Identity(user=(await box.services.accounts.ensure_user("ann")).id))
    assert spent.total > 0
