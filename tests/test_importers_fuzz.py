"""Whatever a file holds: conversations that are fit to be kept, reasons why something is none, or InvalidInput."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backchat.errors import InvalidInput
from backchat.ports.importing import Importer, SourceConversation, Unreadable
from backchat.testing.importing import check
from backchat_importers.chatbotui import ChatbotUI
from backchat_importers.chatgpt import ChatGPT
from backchat_importers.claude import Claude
from backchat_importers.librechat import LibreChat
from imports_made import (
    chatbotui_conversation,
    chatgpt_answers,
    claude_conversation,
    librechat_flat,
    librechat_tree,
)

WHOLE: dict[str, tuple[Importer, Any]] = {
    "librechat": (LibreChat(), librechat_flat()),
    "librechat tree": (LibreChat(), librechat_tree()),
    "chatgpt": (ChatGPT(), [chatgpt_answers()]),
    "claude": (Claude(), [claude_conversation()]),
    "chatbotui": (ChatbotUI(), {"history": [chatbotui_conversation()], "folders": []}),
}
STRANGE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(
        ["text", "thoughts", "user", "system", "m1", "u1", "a1", "c1", "tool_call", "2024-01-01", "1e999"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "text", "value", "parts", "content", "content_type", "message", "children", "name"]
            )
            | st.text(max_size=3),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


def paths(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where all the values in a value are."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [above, *(path for key in keys for path in paths(value[key], (*above, key)))]


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A value with another one in a place of it, if there still is such a place."""
    if not path:
        return new
    if isinstance(value, dict) and path[0] in value:
        return value | {path[0]: changed(value[path[0]], path[1:], new)}
    if isinstance(value, list) and type(path[0]) is int and path[0] < len(value):
        return [*value[: path[0]], changed(value[path[0]], path[1:], new), *value[path[0] + 1 :]]
    return value


def survives(importer: Importer, data: bytes) -> None:
    try:
        for entry in importer.read(io.BytesIO(data)):
            if isinstance(entry, SourceConversation):
                check(entry)
            else:
                assert isinstance(entry, Unreadable)
                assert entry.reason
    except InvalidInput:
        pass


@pytest.mark.parametrize("name", WHOLE)
@given(data=st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_value_in_any_place(name: str, data: st.DataObject) -> None:
    importer, value = WHOLE[name]
    for _ in range(data.draw(st.integers(1, 3))):
        value = changed(value, data.draw(st.sampled_from(paths(value))), data.draw(STRANGE))
    # NaN is no JSON: it is written as what some products write for it.
    written = json.dumps(value).replace("NaN", "null").replace("Infinity", "1e999")
    survives(importer, written.encode())


@pytest.mark.parametrize("name", WHOLE)
@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_bytes_in_any_place(name: str, data: st.DataObject) -> None:
    importer, value = WHOLE[name]
    written = json.dumps(value).encode()
    place = data.draw(st.integers(0, len(written)))
    other = data.draw(st.binary(max_size=8) | st.sampled_from([b"}", b"]", b"{", b"[", b'"', b",", b"\\", b"\\ud83d"]))
    survives(importer, written[:place] + other + written[place + data.draw(st.integers(0, 8)) :])


PIECES = [r"\ud83d", r"\ude00", r"\uD83D\uDE00", r"\\", r"\n", "u", "ud83d", "ude00", '","', "."]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.integers(1, 14))
@settings(max_examples=100, deadline=None)
def test_halves_of_characters_like_the_json_of_python(written: str, size: int) -> None:
    """Wherever chunks end: what is JSON for ``json`` is the same JSON here, halves of characters apart."""
    from backchat.services import json_events as reading
    from backchat_importers.entries import entries

    document = f'["{written}"]'.encode()
    expected = json.loads(document)
    before, reading.CHUNK = reading.CHUNK, size
    try:
        found = [entry.value for entry in entries(io.BytesIO(document))]
    finally:
        reading.CHUNK = before
    assert found == [v.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") for v in expected]
