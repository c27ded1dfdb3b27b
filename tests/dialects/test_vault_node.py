"""Two that were written apart: this server, and a peer in Node that knows the contract only (``tests/vault_peer``)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import vault_made as made
from backchat.client.vault import VaultMessage
from backchat.testing.plugin import Serve
from backchat.testing.server import Box
from vault_between import CONFIG, address, token, vault

PEER = Path(__file__).parent.parent / "vault_peer" / "peer.mjs"
pytestmark = [
    pytest.mark.any_storage,  # they agree about bytes that every storage keeps
    pytest.mark.skipif(made.NODE is None, reason="there is no node here"),
]

EVERY_CONTROL = "".join(
    [chr(n) for n in [*range(0x21), 0x7F, 0x80, 0x9F, 0xAD, 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF]]
)
CONVERSATIONS: list[tuple[str, str | None, list[VaultMessage]]] = [
    (made.CHAT, made.PLATFORM, made.MESSAGES),
    ("plain", None, [VaultMessage("user", "Hi"), VaultMessage("assistant", "Hello.")]),
    ("controls", "ollama", [VaultMessage("tool", EVERY_CONTROL), VaultMessage("system", "\ufeffmark first")]),
    ("escapes", "ollama", [VaultMessage("user", '"\\" \\u0041 \\n / </script> & \\')]),
    ("planes", "ollama", [VaultMessage("user", "é e\u0301 ﬁ Ω Å 漢 \U0001f642 \U0010ffff \U0001f468\u200d\U0001f469")]),
    ("times", "ollama", [VaultMessage("user", "", t) for t in ("2024-05-06t07:08:09z", "2016-12-31T23:59:60.00Z")]),
    (" Straße \u2603/:?#%", "ÄRGER-ΣΑΣ-İ", [VaultMessage("user", "upper case with a final sigma and a dotted I")]),
    ("long", "ollama", [VaultMessage("user", "ab\u00e9\U0001f642" * 50_000)]),
    ("many", "ollama", [VaultMessage("assistant" if n % 2 else "user", str(n)) for n in range(2_000)]),
    *[(f"length {n}", "ollama", [VaultMessage("user", "x" * n)]) for n in range(4)],
]
HALVES = ["\ud800", "a\udfffb", "\ude42\ud83d"]


@pytest.fixture
async def box(serve: Serve) -> Box:
    return await serve(CONFIG)


async def peer(job: str, **details: Any) -> Any:
    """What came of a job."""
    assert made.NODE is not None
    pipe = asyncio.subprocess.PIPE
    node = await asyncio.create_subprocess_exec(made.NODE, str(PEER), stdin=pipe, stdout=pipe, stderr=pipe)
    out, err = await node.communicate(json.dumps({"job": job, **details}).encode())
    assert node.returncode == 0, err.decode()
    return json.loads(out)


def body(chat: str, platform: str | None, messages: list[VaultMessage]) -> dict[str, Any]:
    found: dict[str, Any] = {"chatId": chat, "messages": made.told(messages)}
    return found if platform is None else {**found, "platform": platform}


async def plain(box: Box, text: str, body: Mapping[str, Any]) -> Any:
    headers = {"Authorization": f"Bearer {text}"}
    async with box.client.post("/api/v1/push", json=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def test_the_worked_example() -> None:
    found = await peer(
        "example",
        token=made.TOKEN,
        vaultKey=made.VAULT_KEY,
        keyId=made.KEY_ID,
        wrapIv=made.WRAP_IV,
        platform=made.PLATFORM,
        chatId=made.CHAT,
        messages=made.SENT,
        iv=made.IV,
    )
    assert found == {
        "id": made.ID,
        "kek": made.KEK,
        "wrappedKey": made.WRAPPED,
        "about": made.ABOUT,
        "plaintext": made.PLAINTEXT,
        "encryptedContent": made.ENCRYPTED,
        "contentHashKey": made.HASH_KEY,
        "contentHash": made.HASH,
    }


async def test_the_peer_opens_what_the_server_sealed(box: Box) -> None:
    text = await token(box, platform="Open-WebUI")
    for each in CONVERSATIONS:
        assert (await plain(box, text, body(*each)))["changed"]
    found = await peer("read", url=address(box).rstrip("/"), token=text)
    opened = {(e["chatId"], e["platform"]): e["messages"] for e in found}
    assert opened == {
        (chat, (platform or "open-webui").lower()): made.told(messages) for chat, platform, messages in CONVERSATIONS
    }
    assert len({e["iv"] for e in found}) == len(CONVERSATIONS)


async def test_the_peer_opens_what_was_sealed_before_and_after_a_rotation(box: Box) -> None:
    text = await token(box)
    async with vault(box, text) as ann:
        await plain(box, text, body(*CONVERSATIONS[0]))
        await ann.rotate_key()
        await plain(box, text, body(*CONVERSATIONS[1]))
        await ann.push("sealed", made.MESSAGES)
    found = await peer("read", url=address(box).rstrip("/"), token=text)
    assert {e["chatId"]: e["messages"] for e in found} == {
        CONVERSATIONS[0][0]: made.told(CONVERSATIONS[0][2]),
        CONVERSATIONS[1][0]: made.told(CONVERSATIONS[1][2]),
        "sealed": made.told(made.MESSAGES),
    }


async def test_the_server_takes_what_the_peer_sealed(box: Box) -> None:
    text = await token(box, platform="Open-WebUI")
    pushes = [body(*each) for each in CONVERSATIONS]
    answers = await peer("write", url=address(box).rstrip("/"), token=text, pushes=pushes)
    assert [(a["version"], a["changed"]) for a in answers] == [(1, True)] * len(pushes)
    async with vault(box, text) as ann:
        opened = {(e.chat, e.platform): await ann.open(e) async for e in ann.pull()}
        assert opened == {(c, (p or "open-webui").lower()): messages for c, p, messages in CONVERSATIONS}
        for chat, platform, messages in CONVERSATIONS:
            result = await ann.push(chat, messages, platform=platform)
            assert (result.version, result.changed) == (1, False), chat
    for each, answer in zip(CONVERSATIONS, answers, strict=True):
        again = await plain(box, text, body(*each))
        assert (again["entryId"], again["version"], again["changed"]) == (answer["entryId"], 1, False)
    # Another IV each time, and yet nothing new.
    answers = await peer("write", url=address(box).rstrip("/"), token=text, pushes=pushes)
    assert [(a["version"], a["changed"]) for a in answers] == [(1, False)] * len(pushes)


@pytest.mark.parametrize("text", HALVES)
async def test_both_refuse_half_a_character(box: Box, text: str) -> None:
    key = await token(box)
    messages = [{"role": "user", "content": text}]
    with pytest.raises(AssertionError, match="half a character"):
        await peer("write", url=address(box).rstrip("/"), token=key, pushes=[{"chatId": "c", "messages": messages}])
    async with box.client.post(
        "/api/v1/push", json={"chatId": "c", "messages": messages}, headers={"Authorization": f"Bearer {key}"}
    ) as answer:
        assert answer.status in (400, 422)
