"""The model of a conversation as a chat model of LangChain."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult

from backchat.domain.message import Reasoning, Text, ToolCall, Usage
from backchat.domain.run import ReasoningDelta, ReasoningSealed, TextDelta
from backchat.ports.providers import Finish, PromptMessage, PromptPart, UsageReport
from backchat_langgraph.messages import from_langchain, to_langchain


class TurnModel(BaseChatModel):
    """Asks through ``turn``, an ``AgentTurn``, which shows every piece at once: what comes back here is the whole.

    The server's tools are always offered: there is nothing to bind.
    """

    turn: Any
    cache: bool = False

    @property
    def _llm_type(self) -> str:
        return "backchat"

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        parts: list[PromptPart] = []
        usage = Usage()
        reason = None
        async with aclosing(self.turn.ask([from_langchain(message) for message in messages])) as events:
            async for event in events:
                match event:
                    case TextDelta(text):
                        parts.append(Text(text))
                    case ReasoningDelta(text):
                        parts.append(Reasoning(text))
                    case ReasoningSealed(seal):
                        parts.append(Reasoning("", seal))
                    case ToolCall():
                        parts.append(event)
                    case UsageReport():
                        usage = event.usage
                    case Finish():
                        reason = event.reason
        said = to_langchain(PromptMessage("assistant", tuple(_joined(parts))))
        told = {"usage_metadata": _usage(usage), "response_metadata": {"finish_reason": reason}}
        said = said.model_copy(update=told)
        return ChatResult(generations=[ChatGeneration(message=said)])

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        raise NotImplementedError("this model is asked with ainvoke only")


def _joined(parts: list[PromptPart]) -> list[PromptPart]:
    """Neighbouring pieces of text, or of reasoning up to its seal, as one."""
    whole: list[PromptPart] = []
    pieces: list[str] = []
    for n, part in enumerate(parts):
        if not isinstance(part, Text | Reasoning):
            whole.append(part)
            continue
        pieces.append(part.text)
        seal = part.seal if isinstance(part, Reasoning) else None
        if seal is not None or type(part) is not type(parts[n + 1] if n + 1 < len(parts) else None):
            text = "".join(pieces)
            whole.append(Reasoning(text, seal) if isinstance(part, Reasoning) else Text(text))
            pieces = []
    return whole


def _usage(usage: Usage) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        input_token_details=InputTokenDetails(cache_read=usage.cached_tokens),
        output_token_details=OutputTokenDetails(reasoning=usage.reasoning_tokens),
    )
