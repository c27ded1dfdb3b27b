"""Wraps and grants that do not open."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backchat.services.vault_keys import Bearer
from keyring_desk import (
    Desk,
    has_the_same,
    refused,
    token_id,
)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


async def damaged(desk: Desk, bearer: Bearer) -> None:
    """What the bearer has of the current key, broken."""
    ring, id = await desk.ring(), token_id(bearer)
    kept = ring.keys[-1]
    wraps = {h: replace(w, wrapped=flipped(w.wrapped)) if h == id else w for h, w in kept.wraps.items()}
    grants = {h: flipped(g) if h == id else g for h, g in kept.grants.items()}
    assert (wraps, grants) != (kept.wraps, kept.grants)
    await desk.store_ring(replace(ring, keys=[*ring.keys[:-1], replace(kept, wraps=wraps, grants=grants)]))


async def test_what_is_damaged_is_told_where_the_key_is_needed_and_not_before(desk: Desk) -> None:
    first, second = await desk.issued(), await desk.issued()
    key = await desk.called(first)
    await damaged(desk, second)
    await desk.keys.attend(second)
    left = await refused(desk.keys.current(second))
    assert await refused(desk.keys.wrapped(second)) == left
    await damaged(desk, first)
    await desk.keys.attend(first)
    kept = await refused(desk.keys.current(first))
    assert await refused(desk.keys.wrapped(first)) == kept
    assert await refused(desk.keys.rotate(first)) == kept
    assert "left" in left
    assert "damaged" in left
    assert "damaged" in kept
    assert kept != left
    assert await desk.keys.find(first, key.id) is None


async def test_a_recovery_key_mends_what_is_damaged(desk: Desk) -> None:
    first, second = await desk.issued(), await desk.issued()
    recovery = (await desk.keys.make_recovery(first)).text
    key = await desk.called(first)
    for bearer in (first, second):
        await damaged(desk, bearer)
        assert await desk.keys.recover(bearer, recovery) == key.id
        await has_the_same(desk, bearer, key)


async def test_a_recovery_key_gives_what_it_opens_and_the_rest_is_told(desk: Desk) -> None:
    first = await desk.issued()
    old, recovery = await desk.keys.current(first), await desk.keys.make_recovery(first)
    await desk.keys.rotate(first)
    await damaged(desk, Bearer(first.who, recovery))
    fresh = await desk.issued()
    assert "another API key" in await refused(desk.keys.recover(fresh, recovery.text))
    await has_the_same(desk, fresh, old)


async def test_one_damaged_key_keeps_no_other_from_being_given(desk: Desk) -> None:
    first = await desk.issued()
    await damaged(desk, first)
    await desk.keys.rotate(first, abandon=True)
    second = await desk.issued()
    new = await desk.called(first)
    await has_the_same(desk, second, new)
    further = await desk.further(first)
    assert await desk.called(further) == new
