"""Every public method of the real SDK, and what it is told. A method without a case fails the first test."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

import sdk_knowledge
import sdk_talk
from backchat.testing.plugin import Serve
from sdk_cases import CASES
from threads_box import THREADS, BackboardClient, sdk

assert sdk_knowledge
assert sdk_talk


def public_methods() -> list[str]:
    return [name for name, _ in inspect.getmembers(BackboardClient, inspect.isfunction) if not name.startswith("_")]


class Spy:
    """A client that remembers which of its methods were used."""

    def __init__(self, client: Any) -> None:
        self._client, self.used = client, set[str]()

    def __getattr__(self, name: str) -> Any:
        self.used.add(name)
        return getattr(self._client, name)


def test_every_method_has_a_test() -> None:
    assert set(CASES) == set(public_methods())


@pytest.mark.parametrize("method", public_methods())
async def test_method(serve: Serve, tmp_path: Path, method: str) -> None:
    box = await serve({**THREADS, "embedders": {"lite": {"use": "wordllama"}}} if "embedding" in method else THREADS)
    async with sdk(box) as client:
        spy = Spy(client)
        await CASES[method](spy, box, tmp_path)
        assert method in spy.used
