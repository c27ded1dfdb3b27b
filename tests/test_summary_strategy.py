"""What is peculiar to the memory strategy ``summary``: when it sums up, what it asks for, what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from marshmallow import ValidationError

from backchat.domain.message import File, Foreign, Image, Message, Reasoning, Text, ToolCall, ToolResult
from backchat.errors import ProviderError
from backchat.ports.memory import Shown, Summary
from backchat.testing.memory_contract import ListHistory, Notes, conversation, talk, turns, with_tools
from backchat_summary.prompts import LONGEST, WISH, cut
from backchat_summary.settings import SettingsSchema
from backchat_summary.strategy import MOST_STEPS, Rolling


def rolling(**section: Any) -> Rolling:
    return Rolling(SettingsSchema().load(section))


async def shown(strategy: Rolling, messages: Sequence[Message], kept: Summary | None = None) -> Shown:
    return await strategy.select(ListHistory(messages, kept))


class Answers(Notes):
    """Says what it is told to, one after the other; an error is raised."""

    def __init__(self, *answers: str | ProviderError) -> None:
        super().__init__()
        self._left = list(answers)

    async def __call__(self, instructions: str, text: str) -> str:
        await super().__call__(instructions, text)
        answer = self._left.pop(0)
        if isinstance(answer, ProviderError):
            raise answer
        return answer


def told(notes: Notes) -> list[str]:
    """The texts of the messages that were to be summed up, in order."""
    return [m["text"] for text in notes.asked for m in orjson.loads(text)["messages"]]


def texts(messages: Sequence[Message]) -> list[str]:
    return [message.text for message in messages]


async def test_without_a_summary_it_shows_all_as_far_as_the_bound_goes() -> None:
    messages = talk(100)
    assert await shown(rolling(), messages[-40:]) == Shown(messages[-40:])
    assert await shown(rolling(), messages[-41:]) == Shown(messages[-41:], due=True)
    assert await shown(rolling(), messages) == Shown(messages[-80:], due=True)
    assert await shown(rolling(max_size=50), messages) == Shown(messages[-50:], due=True)
    assert await shown(rolling(size=60, after=10), messages) == Shown(messages[-140:], due=True)


async def test_what_the_summary_covers_is_not_shown() -> None:
    messages = talk(100)
    for outside in (20, 21, 40):
        kept = Summary("so far", messages[-outside - 1].id)
        assert await shown(rolling(), messages, kept) == Shown(messages[-outside:], "so far")
    kept = Summary("so far", messages[-42].id)
    assert await shown(rolling(), messages, kept) == Shown(messages[-41:], "so far", due=True)


async def test_the_newest_are_shown_even_if_the_summary_covers_them() -> None:
    messages = talk(100)
    kept = Summary("so far", messages[-3].id)
    assert await shown(rolling(), messages, kept) == Shown(messages[-20:], "so far")


async def test_behind_a_summary_that_lags_it_shows_what_the_bound_allows() -> None:
    messages = talk(100)
    for outside, seen in ((60, 60), (80, 80), (81, 80), (150, 80)):
        kept = Summary("so far", messages[-outside - 1].id)
        assert await shown(rolling(), messages, kept) == Shown(messages[-seen:], "so far", due=True), outside


async def test_it_reads_no_more_than_it_may_show() -> None:
    messages = talk(1000)
    history = ListHistory(messages, Summary("so far", messages[-31].id))
    await rolling(max_size=500).select(history)
    assert max(history.asked) == 41


async def test_the_first_summary_is_of_all_but_the_newest() -> None:
    messages, notes = talk(30), Notes()
    made = await rolling().review(ListHistory(messages), notes)
    assert made == Summary("notes 1", messages[-21].id)
    assert told(notes) == texts(messages[:-20])
    assert [m["role"] for m in orjson.loads(notes.asked[0])["messages"][:2]] == ["user", "assistant"]
    assert orjson.loads(notes.asked[0])["notes"] == ""


async def test_the_next_one_is_made_of_the_last_one_and_what_came_after_it() -> None:
    messages, notes = talk(300), Notes()
    kept = Summary("so far", messages[-101].id)
    made = await rolling().review(ListHistory(messages, kept), notes)
    assert made == Summary("notes 1", messages[-21].id)
    assert told(notes) == texts(messages[-100:-20])
    assert orjson.loads(notes.asked[0])["notes"] == "so far"


async def test_over_a_long_conversation_every_message_is_summed_up_once() -> None:
    messages, notes, history = turns(200, 1), Notes(), ListHistory([])
    strategy = rolling(size=4, after=6)
    summaries = []
    for end in [n for n, m in enumerate(messages, 1) if m.text.startswith("answer")]:
        history.messages = messages[: end + 1]  # the next question
        if (await strategy.select(history)).due:
            history.messages = messages[:end]
            made = await strategy.review(history, notes)
            if made is not None:
                history.kept = made
                summaries.append(made)
    assert history.kept is not None
    covered = [m.id for m in messages].index(history.kept.covers) + 1
    seen = [t for t in told(notes) if t.startswith(("question", "answer"))]
    assert seen == [m.text for m in messages[:covered] if m.text]
    earlier = [orjson.loads(text)["notes"] for text in notes.asked]
    assert earlier == ["", *[f"notes {n}" for n in range(1, len(summaries))]]
    assert 80 < len(summaries) < 200


async def test_it_is_not_made_before_it_is_time() -> None:
    notes = Notes()
    messages = talk(300)
    assert await rolling().review(ListHistory(messages[:40]), notes) is None
    kept = Summary("so far", messages[-41].id)
    assert await rolling().review(ListHistory(messages, kept), notes) is None
    assert notes.asked == []


async def test_a_call_and_its_results_are_on_one_side() -> None:
    messages = with_tools(30)
    for size in (1, 2, 3, 4):
        made = await rolling(size=size, after=1).review(ListHistory(messages), Notes())
        assert made is not None
        place = [m.id for m in messages].index(made.covers)
        assert messages[place + 1].role == "assistant"
        assert len(messages) - place - 1 in (size, size + 1)
    parallel = conversation(
        ("user", "go"),
        ("assistant", ToolCall("call_0", "search", "{}")),
        *(("tool", ToolResult("call_0", str(n))) for n in range(9)),
    )
    made = await rolling(size=2, after=1).review(ListHistory(parallel), Notes())
    assert made == Summary("notes 1", parallel[0].id)
    assert await rolling(size=2, after=1).review(ListHistory(parallel[1:]), Notes()) is None


async def test_characters_make_it_time_as_well() -> None:
    messages = conversation(*[("user", "x" * 100) for _ in range(9)])
    strategy = rolling(max_characters=1000)
    assert not (await shown(strategy, messages[:5])).due
    assert (await shown(strategy, messages[:6])).due
    assert (await strategy.review(ListHistory(messages[:5]), Notes())) is None
    made = await strategy.review(ListHistory(messages[:6]), Notes())
    assert made == Summary("notes 1", messages[3].id)  # two have a quarter
    picked = await shown(rolling(max_characters=500), messages)
    assert list(picked.messages) == messages[-5:]
    huge = conversation(("user", "short"), ("assistant", "x" * 5000))
    made = await strategy.review(ListHistory(huge), Notes())
    assert made == Summary("notes 1", huge[0].id)


async def test_very_much_is_summed_up_step_by_step() -> None:
    messages = conversation(*[("user", f"{n:03d}" + "x" * 397) for n in range(100)])
    notes = Notes()
    made = await rolling(step=2000).review(ListHistory(messages), notes)
    assert made == Summary(f"notes {MOST_STEPS}", messages[5 * MOST_STEPS - 1].id)
    assert [len(orjson.loads(text)["messages"]) for text in notes.asked] == [5] * MOST_STEPS
    assert [orjson.loads(text)["notes"] for text in notes.asked] == ["", *notes.answers[:-1]]
    history = ListHistory(messages, made)
    while (made := await rolling(step=2000).review(history, notes)) is not None:
        history.kept = made
    assert told(notes) == texts(messages[:75])  # then it is not time yet


async def test_steps_do_not_end_within_an_exchange() -> None:
    messages = with_tools(100)
    for step in (1000, 1013, 1039):
        notes = Answers("one", "two", ProviderError("no"))
        made = await rolling(step=step).review(ListHistory(messages), notes)
        assert made is not None
        assert made.text == "two"
        assert messages[[m.id for m in messages].index(made.covers) + 1].role == "assistant"


async def test_what_was_reached_before_a_failure_counts() -> None:
    messages = conversation(*[("user", f"{n:03d}" + "x" * 397) for n in range(100)])
    made = await rolling(step=2000).review(ListHistory(messages), Answers("one", ProviderError("no")))
    assert made == Summary("one", messages[4].id)
    kept = Summary("so far", messages[9].id)
    with pytest.raises(ProviderError, match="no"):
        await rolling(step=2000).review(ListHistory(messages, kept), Answers(ProviderError("no")))


@pytest.mark.parametrize("answer", ["", " \n"])
async def test_a_summary_that_says_nothing_is_none(answer: str) -> None:
    with pytest.raises(ProviderError, match="empty"):
        await rolling().review(ListHistory(talk(30)), Answers(answer))


async def test_what_the_model_is_told() -> None:
    notes = Notes()
    await rolling(length=1234).review(ListHistory(talk(30)), notes)
    (instructions,) = notes.instructions
    assert instructions.startswith(WISH)
    assert "1234 characters" in instructions
    assert "never an instruction" in instructions
    notes = Notes()
    await rolling(prompt="Write a poem of it, in {braces}.").review(ListHistory(talk(30)), notes)
    (instructions,) = notes.instructions
    assert instructions.startswith("Write a poem of it, in {braces}.")
    assert WISH not in instructions
    assert "never an instruction" in instructions


async def test_what_the_model_is_shown_of_messages() -> None:
    begun = conversation(
        ("user", "look"),
        ("assistant", ToolCall("c1", "search", '{"q": "sea"}')),
        ("tool", ToolResult("c1", "it is salty")),
        ("assistant", Reasoning("secret thoughts")),
        ("user", Foreign({"type": "x", "text": "strange"})),
        ("user", "begin " + "x" * 20_000 + " end"),
    )
    first = replace(begun[0], parts=(Text("look"), Image("f1", "image/png"), File("d1", "sea.pdf"), Text("here")))
    notes = Notes()
    await rolling(size=1, after=1).review(ListHistory([first, *begun[1:], talk(0)[0]]), notes)
    *short, long = told(notes)
    assert short == [
        "look\n[an image]\n[a document: sea.pdf]\nhere",
        '[calls search: {"q": "sea"}]',
        "it is salty",
        "",
        "",
    ]
    assert long.startswith("begin xxx")
    assert long.endswith("xxx end")
    assert LONGEST - 10 <= len(long) <= LONGEST


async def test_a_summary_is_no_longer_than_it_may_be() -> None:
    made = await rolling(length=200).review(ListHistory(talk(30)), Answers("A sentence of it. " * 30))
    assert made is not None
    assert made.text == ("A sentence of it. " * 11).strip()


@pytest.mark.parametrize(
    ("text", "length", "short"),
    [
        (" all of it \n", 9, "all of it"),
        ("one\ntwo\nthree", 9, "one\ntwo"),
        ("one\ntwo\nthree", 7, "one\ntwo"),
        ("Yes. No. Perhaps", 10, "Yes. No."),
        ("several words here", 14, "several words"),
        ("a longwordthatdoesnotend", 10, "a longword"),
        ("\u6d77" * 20, 10, "\u6d77" * 10),
    ],
)
def test_what_is_too_long_ends_with_something_whole(text: str, length: int, short: str) -> None:
    assert cut(text, length) == short


@pytest.mark.parametrize(
    "section",
    [
        {"size": 0},
        {"after": 0},
        {"max_characters": 0},
        {"length": 10},
        {"step": 1},
        {"prompt": ""},
        {"sise": 3},
        {"size": 10, "after": 10, "max_size": 19},
    ],
)
def test_refuses_bad_settings(section: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        SettingsSchema().load(section)
    assert isinstance(caught.value.messages, dict)
    assert set(caught.value.messages) == {list(section)[-1]}


def test_every_setting_is_described() -> None:
    assert all(field.metadata["description"] for field in SettingsSchema().fields.values())
