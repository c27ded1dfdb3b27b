"""Makes ``backchat/services/models.json``, the packaged table of models, out of LiteLLM's.

    pip download --no-deps litellm
    python tools/modeltable.py litellm-*.whl backchat/services/models.json

The wheel holds the table that LiteLLM keeps of many services' models, under the MIT licence. Of it are kept the
services below, and of each model what the catalogue shows. Its licence goes into the file that is made.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

SOURCE = "https://github.com/BerriAI/litellm"
TABLE = "litellm/model_prices_and_context_window_backup.json"
SERVICES = {
    # LiteLLM's name of a service and ours. A name that is known of several services is the first one's.
    "openai": "openai",
    "text-completion-openai": "openai",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "mistral": "mistral",
    "deepseek": "deepseek",
    "xai": "xai",
    "moonshot": "moonshot",
    "zai": "zai",
    "minimax": "minimax",
    "cohere_chat": "cohere",
    "cohere": "cohere",
    "voyage": "voyage",
    "groq": "groq",
    "openrouter": "openrouter",
    "cerebras": "cerebras",
    "together_ai": "together",
    "dashscope": "dashscope",
    "ollama": "ollama",
    "deepinfra": "deepinfra",
    "perplexity": "perplexity",
}
FLAGS = {
    "tools": "supports_function_calling",
    "vision": "supports_vision",
    "reasoning": "supports_reasoning",
    "audio_input": "supports_audio_input",
    "audio_output": "supports_audio_output",
    "video_input": "supports_video_input",
}
PRICES = {
    "price": "input_cost_per_token",
    "cached_price": "cache_read_input_token_cost",
    "cache_write_price": "cache_creation_input_token_cost",
    "image_price": "input_cost_per_image_token",
    "output_price": "output_cost_per_token",
}
SOUND = "input_cost_per_second"
COUNTS = {"context": "max_input_tokens", "output": "max_output_tokens", "dimensions": "output_vector_size"}


def made(table: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """``service/model`` -> what is known of it."""
    rows: dict[str, dict[str, Any]] = {}
    for theirs, ours in SERVICES.items():
        for key, entry in sorted(table.items()):
            if entry.get("litellm_provider") == theirs and (row := _row(entry)) is not None:
                name = key.removeprefix(f"{theirs}/").removeprefix(f"{ours}/")
                rows.setdefault(f"{ours}/{name}".lower(), row)
    return rows


def _row(entry: Mapping[str, Any]) -> dict[str, Any] | None:
    mode = entry.get("mode")
    if mode is None:
        return None
    if mode == "embedding":
        return {"mode": mode, **_numbers(entry)}
    if mode == "audio_transcription":  # only for what it costs
        return {"mode": mode, **{name: number for name, number in _numbers(entry).items() if name not in COUNTS}}
    row = {**_numbers(entry), **{flag: True for flag, theirs in FLAGS.items() if entry.get(theirs) is True}}
    if "image" in entry.get("supported_output_modalities", ()):
        row["image_output"] = True
    talks = mode == "chat" or (mode == "completion" and entry["litellm_provider"] == "ollama")
    if talks or "/v1/chat/completions" in entry.get("supported_endpoints", ()):
        return row
    # The mode tells it from a model that talks. One that does so through another API may be offered through this one
    # by somebody else.
    return {"mode": mode, **row} if mode == "responses" else {"mode": mode}


def _numbers(entry: Mapping[str, Any]) -> dict[str, float]:
    """Tokens, and prices in US dollars for a million tokens or a minute of sound."""
    counts = {ours: entry[theirs] for ours, theirs in COUNTS.items() if type(entry.get(theirs)) is int}
    prices = {ours: entry[theirs] for ours, theirs in PRICES.items() if isinstance(entry.get(theirs), int | float)}
    millions = {ours: round(each * 1_000_000, 6) for ours, each in prices.items()}
    sound = entry.get(SOUND) if entry["mode"] == "audio_transcription" else None
    return {**counts, **millions, **({"minute_price": round(sound * 60, 6)} if sound is not None else {})}


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("wheel", type=Path, help="a wheel of litellm")
    arguments.add_argument("target", type=Path, help="the file to write")
    arguments.add_argument(
        "--date", type=date.fromisoformat, default=datetime.now(UTC).date(), help="when the wheel was fetched"
    )
    given = arguments.parse_args()
    with zipfile.ZipFile(given.wheel) as wheel:
        rows = made(json.loads(wheel.read(TABLE)))
        licence = next(n for n in wheel.namelist() if n.endswith(".dist-info/licenses/LICENSE"))
        head = {
            "source": f"LiteLLM, {SOURCE}, {TABLE}",
            "version": given.wheel.name.split("-")[1],
            "date": given.date.isoformat(),
            "licence": wheel.read(licence).decode(),
        }
    lines = ",\n".join(f"{json.dumps(key)}:{json.dumps(row, separators=(',', ':'))}" for key, row in rows.items())
    given.target.write_text(f'{json.dumps(head, indent=0)[:-2]},\n"models":{{\n{lines}\n}}}}\n', "utf-8")


if __name__ == "__main__":
    main()
