"""Token counts, as both APIs report them."""

from __future__ import annotations

from typing import Any

from backchat.domain.message import Usage
from backchat_openai.pieces import garbled


def completion_usage(reported: Any) -> Usage:
    """Of chat completions. Raises ProviderError for what is no object."""
    if type(reported) is not dict:
        raise garbled()
    sent, said = _tokens(reported, "prompt_tokens"), _tokens(reported, "completion_tokens")
    details = reported.get("prompt_tokens_details")
    cached = _tokens(details, "cached_tokens") or _tokens(reported, "prompt_cache_hit_tokens")  # DeepSeek's name for it
    thought = _tokens(reported.get("completion_tokens_details"), "reasoning_tokens")
    if thought and _tokens(reported, "total_tokens") == sent + said + thought:
        said += thought  # xAI counts reasoning beside the completion; everyone else counts it in
    return _usage(sent, said, cached, thought, _tokens(details, "cache_write_tokens"))


def response_usage(reported: Any) -> Usage:
    """Of the Responses API. Raises ProviderError for what is no object."""
    if type(reported) is not dict:
        raise garbled()
    details = reported.get("input_tokens_details")
    return _usage(
        _tokens(reported, "input_tokens"),
        _tokens(reported, "output_tokens"),
        _tokens(details, "cached_tokens"),
        _tokens(reported.get("output_tokens_details"), "reasoning_tokens"),
        _tokens(details, "cache_write_tokens"),
    )


def _usage(sent: int, said: int, cached: int, thought: int, written: int) -> Usage:
    """What is part of something is not more than that."""
    return Usage(sent, said, min(cached, sent), min(thought, said), min(written, sent))


def _tokens(counts: Any, name: str) -> int:
    value = counts.get(name) if type(counts) is dict else None
    return value if type(value) is int and value > 0 else 0
