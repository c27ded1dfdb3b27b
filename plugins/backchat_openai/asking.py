"""What both of OpenAI's APIs are told in the same way."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256

from backchat.domain.message import Text, ToolResult
from backchat.errors import ProviderRejected
from backchat.ports.providers import FileData, ImageData, ModelRequest, PromptMessage
from backchat.upstream.names import ToolNames

TOOLS = ToolNames(64)
"""https://platform.openai.com/docs/api-reference/chat/create#chat-create-tools"""
JSON_PLEASE = "Answer with a JSON object."
_CALL_ID = re.compile(r"[\w-]{1,40}\Z", re.ASCII)


def call_id(id: str) -> str:
    """The id of a call as these services take it: at most 40 letters, digits, ``_`` and ``-``.

    Others, of calls that another service made, are always mapped alike: calls and results still belong together.
    """
    return id if _CALL_ID.match(id) else f"call_{sha256(id.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def data_url(part: ImageData | FileData) -> str:
    return f"data:{part.mime};base64,{b64encode(part.data).decode()}"


def shown(message: PromptMessage) -> list[Text | ImageData | FileData]:
    """What a message shows beside its calls, without empty texts. Those of an assistant are carried to the user's.

    Raises ProviderRejected for instructions of more than text.
    """
    parts = [p for p in message.parts if isinstance(p, ImageData | FileData) or (isinstance(p, Text) and p.text)]
    if message.role != "user" and not all(isinstance(p, Text) for p in parts):
        raise ProviderRejected("instructions can hold nothing but text")
    return parts


def must_say_json(request: ModelRequest, texts: Iterable[str]) -> bool:
    """Whether the word has to be added: the services hold a model to JSON only if the prompt says that word.

    https://developers.openai.com/api/docs/guides/structured-outputs#json-mode
    """
    if not request.json_output:
        return False
    said = [
        p.text if isinstance(p, Text) else p.content
        for m in request.messages
        for p in m.parts
        if isinstance(p, Text | ToolResult)
    ]
    return not any("json" in text.casefold() for text in [*texts, *said])
