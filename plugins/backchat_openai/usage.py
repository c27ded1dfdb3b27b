"""Token counts, as both APIs report them."""

from __future__ import annotations

from typing import Any

from backchat.domain.message import Usage
from backchat.upstream.pieces import garbled, tokens


def completion_usage(reported: Any) -> Usage:
    """Of chat completions. Raises ProviderError for what is no object."""
    if type(reported) is not dict:
        raise garbled()
    sent, said = tokens(reported, "prompt_tokens"), tokens(reported, "completion_tokens")
    details = reported.get("prompt_tokens_details")
    cached = tokens(details, "cached_tokens") or tokens(reported, "prompt_cache_hit_tokens")  # DeepSeek's name for it
    thought = tokens(reported.get("completion_tokens_details"), "reasoning_tokens")
    if thought and tokens(reported, "total_tokens") == sent + said + thought:
        said += thought  # xAI counts reasoning beside the completion; everyone else counts it in
    return _usage(sent, said, cached, thought, tokens(details, "cache_write_tokens"))


def response_usage(reported: Any) -> Usage:
    """Of the Responses API. Raises ProviderError for what is no object."""
    if type(reported) is not dict:
        raise garbled()
    details = reported.get("input_tokens_details")
    return _usage(
        tokens(reported, "input_tokens"),
        tokens(reported, "output_tokens"),
        tokens(details, "cached_tokens"),
        tokens(reported.get("output_tokens_details"), "reasoning_tokens"),
        tokens(details, "cache_write_tokens"),
    )


def _usage(sent: int, said: int, cached: int, thought: int, written: int) -> Usage:
    """What is part of something is not more than that."""
    return Usage(sent, said, min(cached, sent), min(thought, said), min(written, sent))
