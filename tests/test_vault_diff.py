"""The difference of two versions of a conversation."""

from __future__ import annotations

from itertools import pairwise
from time import perf_counter
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchat.client.diff import Edit, applied, diff
from backchat.domain.vault import VaultMessage, VaultRole

MESSAGES = st.lists(
    st.builds(
        VaultMessage,
        st.sampled_from(get_args(VaultRole)[:2]),
        st.sampled_from("abcdef"),
        st.sampled_from([None, "2024-05-06T07:08:09Z"]),
    ),
    max_size=12,
)


def said(*contents: str) -> list[VaultMessage]:
    """A talk, in turns: the user first."""
    return [VaultMessage("assistant" if n % 2 else "user", content) for n, content in enumerate(contents)]


def told(edits: list[Edit]) -> list[tuple[str, int, list[str], list[str]]]:
    return [(e.kind, e.at, [m.content for m in e.old], [m.content for m in e.new]) for e in edits]


@given(MESSAGES, MESSAGES)
def test_a_difference_leads_from_one_to_the_other(a: list[VaultMessage], b: list[VaultMessage]) -> None:
    edits = diff(a, b)
    assert applied(a, edits) == b
    assert [m for e in edits for m in e.old] == a
    assert [m for e in edits for m in e.new] == b
    places = [0]
    for e in edits:
        assert e.at == places[-1]
        places.append(e.at + len(e.old))


@given(MESSAGES, MESSAGES)
def test_each_edit_is_what_it_is_called(a: list[VaultMessage], b: list[VaultMessage]) -> None:
    kinds = []
    for e in diff(a, b):
        kinds.append(e.kind)
        match e.kind:
            case "same":
                assert e.old
                assert e.old == e.new
            case "removed":
                assert e.old
                assert not e.new
            case "added":
                assert e.new
                assert not e.old
            case "changed":
                (old,), (new,) = e.old, e.new
                assert old != new
                assert old.role == new.role
    assert ("same", "same") not in pairwise(kinds)


@given(MESSAGES)
def test_what_is_equal_has_no_difference(a: list[VaultMessage]) -> None:
    assert diff(a, list(a)) == ([Edit("same", 0, tuple(a), tuple(a))] if a else [])


@given(MESSAGES, MESSAGES, MESSAGES)
def test_edits_fit_what_they_were_made_from_only(
    a: list[VaultMessage], b: list[VaultMessage], c: list[VaultMessage]
) -> None:
    edits = diff(a, b)
    if a == c:
        assert applied(c, edits) == b
    else:
        with pytest.raises(ValueError, match=r"another conversation|a shorter conversation"):
            applied(c, edits)


def test_edits_that_leave_something_out_do_not_fit() -> None:
    a = said("one", "two", "three")
    edits = diff(a, [a[0], VaultMessage("assistant", "other"), a[2]])
    with pytest.raises(ValueError, match="another conversation"):
        applied(a, edits[1:])
    with pytest.raises(ValueError, match="a shorter conversation"):
        applied(a, edits[:-1])


def test_a_changed_word_in_the_middle_is_one_change() -> None:
    a = said("Hi", "Hello", "How far is the sea?", "Far.", "Thanks")
    b = said("Hi", "Hello", "How deep is the sea?", "Far.", "Thanks")
    assert told(diff(a, b)) == [
        ("same", 0, ["Hi", "Hello"], ["Hi", "Hello"]),
        ("changed", 2, ["How far is the sea?"], ["How deep is the sea?"]),
        ("same", 3, ["Far.", "Thanks"], ["Far.", "Thanks"]),
    ]


def test_another_role_or_time_is_a_difference() -> None:
    noon = VaultMessage("user", "Hi", "2024-05-06T12:00:00Z")
    assert [e.kind for e in diff([noon], [VaultMessage("user", "Hi")])] == ["changed"]
    assert [e.kind for e in diff([noon], [VaultMessage("system", "Hi", noon.timestamp)])] == ["removed", "added"]


def test_a_talk_that_went_on() -> None:
    a = said("Hi", "Hello")
    assert told(diff(a, said("Hi", "Hello", "Bye", "Bye!"))) == [
        ("same", 0, ["Hi", "Hello"], ["Hi", "Hello"]),
        ("added", 2, [], ["Bye", "Bye!"]),
    ]


def test_a_talk_that_was_cut_short_and_answered_anew() -> None:
    a = said("Hi", "Hello", "And?", "Well.")
    assert told(diff(a, said("Hi", "Good day"))) == [
        ("same", 0, ["Hi"], ["Hi"]),
        ("changed", 1, ["Hello"], ["Good day"]),
        ("removed", 2, ["And?", "Well."], []),
    ]


def test_what_is_repeated_is_aligned_by_what_is_not() -> None:
    a = said("go on", "first", "go on", "second", "go on", "third")
    edits = told(diff(a, [*said("go on", "first"), *a[4:]]))
    assert edits == [
        ("same", 0, ["go on", "first", "go on"], ["go on", "first", "go on"]),
        ("removed", 3, ["second", "go on"], []),
        ("same", 5, ["third"], ["third"]),
    ]


@pytest.mark.parametrize(("first", "step"), [(1, 1), (50, 7), (10_000, 9_999)])
def test_the_longest_conversations_take_no_long_time(first: int, step: int) -> None:
    """All alike, few that keep coming back, and all different in another order."""
    a = said(*[str(n % first) for n in range(10_000)])
    b = said("new", *[str(n * step % first) for n in range(9_998)], "end")
    started = perf_counter()
    edits = diff(a, b)
    assert perf_counter() - started < 5
    assert applied(a, edits) == b
