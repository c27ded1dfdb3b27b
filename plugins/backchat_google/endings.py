"""Why a model stopped: https://ai.google.dev/api/generate-content#FinishReason"""

from __future__ import annotations

from typing import Any, Literal

from backchat.errors import ProviderCredentials, ProviderError, ProviderRejected

ENOUGH = "STOP"
TOO_LONG = frozenset({"MAX_TOKENS", "CONTINUATION"})
_WITHHELD = frozenset(
    {
        "BLOCKLIST",
        "ESCALATION",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "IMAGE_SAFETY",
        "LANGUAGE",
        "MODEL_ARMOR",
        "PROHIBITED_CONTENT",
        "RECITATION",
        "SAFETY",
        "SPII",
    }
)
_FAILED = {
    "MALFORMED_FUNCTION_CALL": "the model made a tool call that the model service could not read",
    "MALFORMED_RESPONSE": "the model made an answer that the model service could not read",
    "MISSING_THOUGHT_SIGNATURE": "the model service missed a thought signature in the conversation",
    "TOO_MANY_TOOL_CALLS": "the model called too many tools",
    "UNEXPECTED_TOOL_CALL": "the model called a tool that it does not have",
}


def finish(reason: str, said: bool) -> Literal["stop", "length", "content_filter"]:
    """What a finish reason means; ``said``: there is a part of an answer.

    Raises ProviderRejected for an answer of which nothing was let through, else ProviderError for what is no end.
    """
    if reason == ENOUGH:
        return "stop"
    if reason in TOO_LONG:
        return "length"
    if reason in _WITHHELD:
        if said:
            return "content_filter"
        raise ProviderRejected(f"the model service withheld the answer ({reason})", at_work=True)
    if reason == "PUP_LIMITED_DISABLED":
        raise ProviderCredentials("the model service has limited or disabled this server's account")
    raise ProviderError(_FAILED.get(reason) or f"the model service gave the answer up{_named(reason)}")


def blocked(feedback: Any) -> ProviderRejected | None:
    """The error for a prompt that is not answered; None if it is."""
    reason = feedback.get("blockReason") if type(feedback) is dict else None
    return ProviderRejected(f"the model service blocked the prompt{_named(reason)}") if reason else None


def _named(reason: object) -> str:
    known = type(reason) is str and len(reason) <= 64 and reason.isascii() and reason.replace("_", "").isalpha()
    return f" ({reason})" if known else ""
