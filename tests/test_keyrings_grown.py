"""Keyrings that have grown, and what they cost a request."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from backchat.services import keyrings
from backchat.services.vault_records import KEYRING
from keyring_desk import (
    Counted,
    Desk,
    token_id,
)


async def test_whatever_is_written_the_expired_go() -> None:
    """A ring does not grow with every token there ever was."""
    desk = Desk()
    first = await desk.issued()

    async def and_expired() -> None:
        await desk.issued(hours=1)
        assert len((await desk.ring()).holders) > 1
        desk.time += timedelta(hours=1)

    await and_expired()
    await desk.keys.rotate(first)
    assert set((await desk.ring()).holders) == {token_id(first)}
    await and_expired()
    second = await desk.issued()
    assert set((await desk.ring()).holders) == {token_id(first), token_id(second)}
    await and_expired()
    await desk.accounts.revoke_key(token_id(second))
    assert set((await desk.ring()).holders) == {token_id(first)}
    await and_expired()
    recovery = await desk.keys.make_recovery(first)
    assert set((await desk.ring()).holders) == {token_id(first), recovery.id}
    assert all(set(kept.wraps) == {token_id(first), recovery.id} for kept in (await desk.ring()).keys)
    assert not any(kept.grants for kept in (await desk.ring()).keys)


@pytest.mark.parametrize(("holders", "aside"), [(2, False), (600, True)])
async def test_a_large_ring_is_read_and_written_beside_the_loop(
    monkeypatch: pytest.MonkeyPatch, holders: int, aside: bool
) -> None:
    threads: set[int] = set()

    def watched(work: Callable[..., Any]) -> Callable[..., Any]:
        def done(*args: Any) -> Any:
            threads.add(threading.get_ident())
            return work(*args)

        return done

    desk = Desk()
    bearer = await desk.issued()
    ring = await desk.ring()
    one = ring.holders[token_id(bearer)]
    (kept,) = ring.keys
    more = [f"h{n}" for n in range(holders)]
    key = replace(kept, wraps={**kept.wraps, **dict.fromkeys(more, kept.wraps[token_id(bearer)])})
    await desk.store_ring(replace(ring, holders={**ring.holders, **dict.fromkeys(more, one)}, keys=[key]))
    for name in ("keyring_of", "keyring_put", "opened", "with_new_key"):
        monkeypatch.setattr(keyrings, name, watched(getattr(keyrings, name)))
    await desk.keys.attend(bearer)
    await desk.issued(giver=bearer.token)
    await desk.accounts.revoke_key(token_id(await desk.issued()))
    assert threads
    assert (threading.get_ident() not in threads) == aside


async def test_what_a_request_began_with_is_not_read_again() -> None:
    desk = Desk()
    bearer = await desk.issued()
    attended = await desk.keys.attend(bearer)
    store = desk.store
    assert isinstance(store, Counted)
    store.asked = []
    assert await desk.keys.current(attended) == await desk.keys.current(bearer)
    assert store.asked == [KEYRING.name], "once, for the bearer as it was before"


async def test_what_was_left_since_the_request_began_is_found() -> None:
    desk = Desk()
    first, waiting = await desk.issued(), await desk.issued()
    attended = await desk.keys.attend(waiting)
    key = await desk.called(first)
    assert await desk.keys.current(attended) == key
