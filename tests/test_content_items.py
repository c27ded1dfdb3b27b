"""Which parts of a message are one item to other products, and where the fields of items go."""

from __future__ import annotations

import pytest

from backchat.domain.content_items import FIELDS, Item, fields_at, items, numbered
from backchat.domain.message import File, Part, Reasoning, Text, ToolCall, ToolResult
from backchat.services.rewording import reworded, still_said

FILE = File("d", "notes.txt")


def parts(line: str) -> list[Part]:
    """``c1``: a call of id 1; ``r1``: an output to it; ``t``, ``h``, ``f``: text, thoughts, a document."""
    made: dict[str, Part] = {"t": Text("said"), "h": Reasoning("thought"), "f": FILE}
    return [
        made[word]
        if word in made
        else ToolCall(word[1:], "name", "{}")
        if word[0] == "c"
        else ToolResult(word[1:], f"{n}")
        for n, word in enumerate(line.split())
    ]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("", []),
        ("f t h", [(1, None), (2, None)]),
        ("c1 r1 t", [(0, 1), (2, None)]),
        ("c1 c2 r2 r1", [(0, 3), (1, 2)]),
        ("r1 c1", [(0, None), (1, None)]),
        ("c1 r1 c1 r1", [(0, 1), (2, 3)]),
        ("c1 c1 r1 r1", [(0, 2), (1, 3)]),
        ("c1 c1 c2 r1 r2 r1", [(0, 3), (1, 5), (2, 4)]),
        ("c1 c1 r1", [(0, None), (1, 2)]),
        ("c1 r1 r1", [(0, 1), (2, None)]),
        ("c1 t c1 r1 t", [(0, None), (1, None), (2, 3), (4, None)]),
    ],
)
def test_a_call_and_its_output_are_one(line: str, found: list[tuple[int, int | None]]) -> None:
    assert items(parts(line)) == [Item(*each) for each in found]


def test_fields_are_numbered_by_item() -> None:
    made = parts("f t c1 r1 h")
    kept = numbered(made, {1: {"a": 1}, 2: {"b": 2}, 3: {"c": 3}, 4: {"d": 4}})
    assert kept == {"0": {"a": 1}, "1": {"b": 2, "c": 3}, "2": {"d": 4}}
    assert fields_at(made, {FIELDS: kept}) == {1: {"a": 1}, 2: {"b": 2, "c": 3}, 4: {"d": 4}}


@pytest.mark.parametrize("odd", [None, "x", [], {}, {"0": 5}, {"x": {"a": 1}}, {"7": {"a": 1}}, {"-1": {"a": 1}}])
def test_what_an_import_says_may_be_anything(odd: object) -> None:
    assert fields_at(parts("t"), {FIELDS: odd}) == {}


def test_fields_stay_with_their_items_when_a_message_is_reworded() -> None:
    made = parts("h t c1 r1 t f t")
    fields = {"0": {"a": 0}, "1": {"b": 1, "text": {"annotations": []}}, "2": {"c": 2}, "3": {"gone": 3}}
    extra = {FIELDS: fields, "sender": "x"}
    assert len(reworded(made, "new")) == 5
    assert still_said(extra, made, "new", None) == {
        "sender": "x",
        FIELDS: {"0": {"a": 0}, "1": {"b": 1}, "2": {"c": 2}},
    }
    assert still_said(extra, made, "new", 1) == {"sender": "x", FIELDS: {**fields, "1": {"b": 1}}}
    assert still_said({"sender": "x"}, made, "new", None) == {"sender": "x"}
    thoughts = parts("h c1")
    assert still_said({FIELDS: {"1": {"c": 2}}}, thoughts, "new", None) == {FIELDS: {"1": {"c": 2}}}
