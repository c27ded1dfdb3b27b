"""When echo calls a tool, and with which arguments: both follow from the user's words alone."""

from __future__ import annotations

import hashlib
import json
import re

from backchat.domain.message import ToolCall
from backchat.ports.providers import ModelRequest, ToolDefinition
from backchat.ports.words import words
from backchat_echo.arguments import Filler
from backchat_echo.reply import last_user, text_of, tool_results

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_LEAST_LETTERS = 4


def wanted_call(request: ModelRequest) -> ToolCall | None:
    """The call of the tool whose name shares most words with the user's last text; the first defined among equals.

    Words of a name are cut at ``_``, ``-`` and humps; those of fewer than four letters do not count. None if no name
    shares a word, or if the prompt ends with tool results, which are to be answered.
    """
    last = last_user(request)
    if last is None or not request.tools or tool_results(request):
        return None
    text = text_of(last)
    said = set(words(text))
    best = max(request.tools, key=lambda tool: len(said & name_words(tool.name)))
    if not said & name_words(best.name):
        return None
    return _call(request, best, text)


def name_words(name: str) -> set[str]:
    return {word for word in words(_HUMP.sub(" ", name)) if len(word) >= _LEAST_LETTERS}


def _call(request: ModelRequest, tool: ToolDefinition, text: str) -> ToolCall:
    arguments = json.dumps(Filler(tool.parameters, text).arguments(), ensure_ascii=False)
    # The earlier calls are part of the id, so that the same question asked twice in a conversation has two ids.
    earlier = [p.id for m in request.messages for p in m.parts if isinstance(p, ToolCall)]
    seed = json.dumps([len(request.messages), earlier, tool.name, arguments])
    return ToolCall(f"call_{hashlib.sha256(seed.encode()).hexdigest()[:24]}", tool.name, arguments)
