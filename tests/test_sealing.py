"""The formats of the vault: the worked example of the contract, every character, and what must not open."""

from __future__ import annotations

import binascii
import json
import random
import string
import sys
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vault_made as made
from backchat.domain.vault import SealedContent, VaultMessage
from backchat.sealing import binary
from backchat.sealing.binary import SLICE, from_text, to_text
from backchat.sealing.content import associated, canonical, hash_of, messages_of, open_sealed, seal
from backchat.sealing.failures import Altered, CannotOpen, Swapped, Truncated, WrongKey
from backchat.sealing.keys import (
    VaultKey,
    Wrap,
    accept,
    derived,
    grant,
    is_key_id,
    kek,
    new_key,
    public_key,
    unwrap,
    wrap,
)
from backchat.sealing.timestamps import is_timestamp
from backchat.sealing.tokens import SECRET_MAX, Secret, Use, new_secret, parse

KEY = VaultKey(made.KEY_ID, bytes.fromhex(made.VAULT_KEY))
HOLDER = Secret("token", made.ID, made.SECRET)
LETTERS = string.ascii_letters + string.digits + "-"
USES = st.sampled_from(["token", "recovery"])
SHORT = [VaultMessage("user", "Hi")]
LONG = [VaultMessage("user", f"Question {n}\nand some more", "2024-05-06T07:08:09Z") for n in range(20)]

# ---- the worked example, row by row ---------------------------------------------------------------------------------


def test_example_token() -> None:
    assert parse(made.TOKEN) == HOLDER
    assert HOLDER.text == made.TOKEN
    assert (len(HOLDER.id), len(HOLDER.secret)) == (5, 44)


def test_example_kek() -> None:
    assert kek(HOLDER).hex() == made.KEK


def test_example_wrap() -> None:
    found = wrap(KEY, HOLDER, from_text(made.WRAP_IV))
    assert found == Wrap(made.KEY_ID, b64decode(made.WRAPPED), b64decode(made.WRAP_IV))
    assert (len(found.wrapped), len(to_text(found.wrapped))) == (48, 64)
    assert unwrap(found, HOLDER) == KEY


def test_example_associated_data() -> None:
    assert (len(made.CHAT), len(made.CHAT.encode())) == (9, 13)
    assert associated(made.PLATFORM.lower(), made.CHAT) == made.ABOUT.encode()
    assert len(made.ABOUT) == 44


def test_example_plaintext() -> None:
    assert canonical(made.MESSAGES) == b64decode(made.PLAINTEXT)
    assert len(canonical(made.MESSAGES)) == 167
    assert messages_of(b64decode(made.PLAINTEXT)) == made.MESSAGES


def test_example_content() -> None:
    sealed = seal(canonical(made.MESSAGES), KEY, made.PLATFORM.lower(), made.CHAT, from_text(made.IV))
    assert to_text(sealed.iv) == made.IV
    assert to_text(sealed.data) == made.ENCRYPTED
    assert len(sealed.data) == 183
    assert open_sealed(sealed, KEY, made.PLATFORM.lower(), made.CHAT) == b64decode(made.PLAINTEXT)


def test_example_content_hash() -> None:
    assert derived(KEY.secret, b"", "backspace-content-hash-v1").hex() == made.HASH_KEY
    assert hash_of(b64decode(made.PLAINTEXT), KEY) == made.HASH


# ---- canonical JSON -------------------------------------------------------------------------------------------------


def reference(messages: list[VaultMessage]) -> bytes:
    """As the contract words it for Python."""
    content = {"v": 1, "messages": made.told(messages)}
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def test_every_character_is_written_as_the_contract_has_it() -> None:
    surrogates = range(0xD800, 0xE000)
    every = "".join([chr(point) for point in range(sys.maxunicode + 1) if point not in surrogates])
    for n in range(0, len(every), 50_000):
        part = [VaultMessage("user", every[n : n + 50_000])]
        assert canonical(part) == reference(part), f"from U+{ord(every[n]):04X} on"


@given(made.messages)
def test_messages_are_written_as_the_contract_has_it_and_read_again(messages: list[VaultMessage]) -> None:
    assert canonical(messages) == reference(messages)
    assert messages_of(canonical(messages)) == messages


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\ude42\ud83d"])
def test_half_a_character_has_no_form(text: str) -> None:
    with pytest.raises(UnicodeEncodeError):
        canonical([*SHORT, VaultMessage("user", text)])
    with pytest.raises(UnicodeEncodeError):
        canonical([VaultMessage("user", "", text)])


@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b'{"messages":[]}',
        b'{"messages":[],"v":2}',
        b'{"messages":[],"v":"1"}',
        b'{"v":1}',
        b'{"messages":{},"v":1}[',
        b'{"messages":[7],"v":1}',
        b'{"messages":[{"role":"user"}],"v":1}',
        b'{"messages":[{"content":"marker"}],"v":1}',
        b'{"messages":[{"content":"marker","role":"root"}],"v":1}',
        b'{"messages":[{"content":["marker"],"role":"user"}],"v":1}',
        b'{"messages":[{"content":"marker","role":"user","timestamp":1}],"v":1}',
        b'{"messages":[{"content":"marker","role":["user"]}],"v":1}',
        b'{"messages":"marker","v":1}',
        b'{"messages":null,"v":1}',
        b'{"messages":[{"content":"\xff","role":"user"}],"v":1}',
    ],
)
def test_what_is_sealed_and_is_not_messages(plaintext: bytes) -> None:
    with pytest.raises(Altered) as caught:
        messages_of(plaintext)
    assert "marker" not in repr(caught.value)


# ---- base64 ---------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=80))
def test_bytes_are_text_and_bytes_again(data: bytes) -> None:
    assert to_text(data) == b64encode(data).decode()
    assert from_text(to_text(data)) == data


@given(st.binary(min_size=1, max_size=8), st.data())
def test_no_other_spelling_is_taken(data: bytes, draw: st.DataObject) -> None:
    """One character more, less, or another one: what is taken is what would be written."""
    text = to_text(data)
    at = draw.draw(st.integers(0, len(text)))
    put = draw.draw(st.sampled_from(["", "=", "A", "Q", "/", "_", "-", " ", "\n", "é", "\0", "=="]))
    other = text[:at] + put + text[at + draw.draw(st.integers(0, 1)) :]
    try:
        found = from_text(other)
    except ValueError:
        return
    assert to_text(found) == other


@pytest.mark.parametrize(
    "text",
    [
        "_-8=",
        "AA",
        "AA=",
        "AAA",
        "AA= =",
        " AAAA",
        "AAAA\n",
        "AAAA AAAA",
        "AA==AAAA",
        "AB==",
        "AAB=",
        "=",
        "====",
        "ÄAAA",
    ],
)
def test_what_is_not_strictly_base64(text: str) -> None:
    with pytest.raises(ValueError, match="not base64"):
        from_text(text)


@pytest.mark.parametrize("size", [n * SLICE + more for n in (1, 2, 3) for more in (-1, 0, 1, 2)])
def test_what_is_long_is_the_same_in_slices(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert to_text(data) == b64encode(data).decode()
    assert from_text(to_text(data)) == data


@pytest.mark.parametrize("more", [0, 1, 2, 3])
@pytest.mark.parametrize("put", ["=", "==", "AA==", "AAA=", "====", "\n", "AB==", "A", "_", " ", "é"])
def test_no_other_spelling_where_two_slices_meet(put: str, more: int) -> None:
    text, seam = to_text(bytes(2 * SLICE + more)), SLICE // 3 * 4
    for at in (seam, 2 * seam):
        for other in (text[: at - len(put)] + put + text[at:], text[:at] + put + text[at:], text[: at - 1] + text[at:]):
            if other != text:
                try:
                    found = from_text(other)
                except ValueError:
                    continue
                assert to_text(found) == other


@pytest.mark.parametrize("size", [1 << 20, 10_000_000])
def test_other_threads_get_their_turn(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Nobody else runs while one call of these does."""
    longest = 0

    def measured(work: Callable[..., Any]) -> Callable[..., Any]:
        def noted(given: str | bytes, **more: bool) -> Any:
            nonlocal longest
            longest = max(longest, len(given))
            return work(given, **more)

        return noted

    monkeypatch.setattr(binary, "b64encode", measured(b64encode))
    monkeypatch.setattr(binascii, "a2b_base64", measured(binascii.a2b_base64))
    data = bytes(size)
    assert from_text(to_text(data)) == data
    assert 0 < longest <= 256 << 10


# ---- tokens ---------------------------------------------------------------------------------------------------------


@given(
    USES, st.from_regex(r"[A-Za-z0-9-]{1,64}", fullmatch=True), st.from_regex(r"[A-Za-z0-9_-]{43,80}", fullmatch=True)
)
def test_a_token_falls_into_its_parts(use: Use, id: str, secret: str) -> None:
    assert parse(Secret(use, id, secret).text) == Secret(use, id, secret)


def test_the_id_ends_at_the_first_underscore() -> None:
    secret = "_" * 43
    assert parse(f"bsr_a_{secret}") == Secret("recovery", "a", secret)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bsk_",
        "bsk__" + "a" * 43,
        "bsk_a_" + "a" * 42,
        "bsk_a-" + "a" * 43,
        "bsk_" + "a" * 65 + "_" + "a" * 43,
        "bsk_é_" + "a" * 43,
        "bsx_a_" + "a" * 43,
        "BSK_a_" + "a" * 43,
        "bsk_a_" + "a" * 42 + "é",
        "bsk_a_" + "a" * 42 + "+",
        "bsk_a_" + "a" * 43 + "\n",
        " bsk_a_" + "a" * 43,
        "bsk_a_" + "a" * (SECRET_MAX + 1),
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl",
    ],
)
def test_what_is_no_token(text: str) -> None:
    assert parse(text) is None


def test_new_secrets_are_tokens_and_differ() -> None:
    found = {new_secret("token", "a").text for _ in range(50)}
    assert len(found) == 50
    assert all(parse(text) == Secret("token", "a", text[6:]) for text in found)


# ---- keys and their wraps -------------------------------------------------------------------------------------------


def test_new_keys_differ() -> None:
    found = [new_key() for _ in range(50)]
    assert len({key.id for key in found}) == len({key.secret for key in found}) == 50


@pytest.mark.parametrize("id", ["", "a" * 65, "a b", "é", "a\n", "a:b"])
def test_a_key_has_an_id_of_the_contracts_form(id: str) -> None:
    assert not is_key_id(id)
    with pytest.raises(ValueError, match="32 bytes"):
        VaultKey(id, bytes(32))


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_has_32_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        VaultKey("a", bytes(size))


@given(USES, st.binary(min_size=32, max_size=32))
def test_a_wrap_opens_for_its_holder_only(use: Use, secret: bytes) -> None:
    key, holder = VaultKey("vk", secret), new_secret(use, "h")
    wrapped = wrap(key, holder)
    assert unwrap(wrapped, holder) == key
    assert secret not in wrapped.wrapped
    other: Use = "recovery" if use == "token" else "token"
    for wrong in (new_secret(use, "h"), replace(holder, id="i"), replace(holder, use=other)):
        with pytest.raises(WrongKey):
            unwrap(wrapped, wrong)


@pytest.mark.parametrize(
    "damaged",
    [
        lambda w: replace(w, key="vk-2"),
        lambda w: replace(w, wrapped=w.wrapped[:-1]),
        lambda w: replace(w, wrapped=b""),
        lambda w: replace(w, wrapped=bytes([w.wrapped[0] ^ 1]) + w.wrapped[1:]),
        lambda w: replace(w, iv=bytes(12)),
        lambda w: replace(w, iv=b""),
    ],
)
def test_a_damaged_wrap_does_not_open(damaged: object) -> None:
    assert callable(damaged)
    with pytest.raises(WrongKey, match="does not open with this token, or is damaged"):
        unwrap(damaged(wrap(KEY, HOLDER)), HOLDER)


def test_every_wrap_has_an_iv_of_its_own() -> None:
    assert len({wrap(KEY, HOLDER).iv for _ in range(50)}) == 50


@given(USES, st.binary(min_size=32, max_size=32))
def test_a_grant_opens_for_its_holder_only(use: Use, secret: bytes) -> None:
    key, holder = VaultKey("vk", secret), new_secret(use, "h")
    granted = grant(key, holder.id, public_key(holder))
    assert accept(granted, "vk", holder) == key
    assert secret not in granted
    for wrong in (new_secret(use, "h"), replace(holder, id="i")):
        with pytest.raises(Altered):
            accept(granted, "vk", wrong)
    for id, text in (("vk-2", granted), ("vk", granted[:-1]), ("vk", b""), ("vk", granted[:-1] + bytes(1))):
        if (id, text) != ("vk", granted):
            with pytest.raises(Altered):
                accept(text, id, holder)


def test_what_the_server_keeps_of_a_secret_is_no_key() -> None:
    """The KEK, the private half for grants, and the public one have nothing in common."""
    assert len({kek(HOLDER), public_key(HOLDER), derived(HOLDER.secret.encode(), b"k7Qp2", "backspace-grant-v1")}) == 3
    assert kek(replace(HOLDER, use="recovery")) != kek(HOLDER)


# ---- content --------------------------------------------------------------------------------------------------------


@given(made.messages, st.text(min_size=1, max_size=64), st.text(min_size=1, max_size=255))
def test_content_is_sealed_and_opens(messages: list[VaultMessage], platform: str, chat: str) -> None:
    plaintext = canonical(messages)
    sealed = seal(plaintext, KEY, platform, chat)
    assert len(sealed.data) == len(plaintext) + 16
    assert messages_of(open_sealed(sealed, KEY, platform, chat)) == messages


@given(st.text(), st.text())
def test_what_content_is_tied_to(platform: str, chat: str) -> None:
    head, version, *parts = associated(platform, chat).split(b":")
    assert (head, version) == (b"backspace", b"v1")
    assert parts == [urlsafe_b64encode(text.encode()).replace(b"=", b"") for text in (platform, chat)]


def test_every_content_has_an_iv_of_its_own() -> None:
    assert len({seal(b"", KEY, "p", "c").iv for _ in range(50)}) == 50


@given(made.messages, made.messages)
def test_hashes_are_equal_if_contents_are(a: list[VaultMessage], b: list[VaultMessage]) -> None:
    x, y = canonical(a), canonical(b)
    assert (hash_of(x, KEY) == hash_of(y, KEY)) == (a == b)
    assert hash_of(x, KEY) != hash_of(x, VaultKey(KEY.id, bytes(32)))


# ---- what does not open, and why ------------------------------------------------------------------------------------


def flipped(data: bytes, at: int, bit: int = 0) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def why(sealed: SealedContent, key: VaultKey = KEY, chat: str = "c", hash: str | None = None) -> type[CannotOpen]:
    with pytest.raises(CannotOpen) as caught:
        open_sealed(sealed, key, "p", chat, hash)
    assert "Question" not in repr(caught.value)
    return type(caught.value)


contents = pytest.mark.parametrize("messages", [[], SHORT, LONG], ids=["none", "short", "long"])
hashed = pytest.mark.parametrize("known", [True, False], ids=["hash", "no hash"])


def sealed_and_hash(messages: list[VaultMessage], known: bool) -> tuple[SealedContent, str | None]:
    plaintext = canonical(messages)
    return seal(plaintext, KEY, "p", "c"), hash_of(plaintext, KEY) if known else None


@contents
@hashed
def test_another_key_is_called_that(messages: list[VaultMessage], known: bool) -> None:
    for _ in range(50):
        sealed, hash = sealed_and_hash(messages, known)
        assert why(sealed, new_key(), hash=hash) is WrongKey


@contents
@hashed
def test_another_iv_is_called_that(messages: list[VaultMessage], known: bool) -> None:
    sealed, hash = sealed_and_hash(messages, known)
    for bit in range(96):
        assert why(replace(sealed, iv=flipped(sealed.iv, bit // 8, bit % 8)), hash=hash) is WrongKey
    assert why(replace(sealed, iv=b""), hash=hash) is Altered
    assert why(replace(sealed, iv=sealed.iv + b"\0"), hash=hash) is Altered


@contents
@hashed
def test_a_flipped_bit_is_called_that_wherever_it_is(messages: list[VaultMessage], known: bool) -> None:
    sealed, hash = sealed_and_hash(messages, known)
    for bit in range(len(sealed.data) * 8 if len(sealed.data) < 300 else 1000):
        at = bit // 8 if bit < 500 else -1 - bit % 500 // 8
        assert why(replace(sealed, data=flipped(sealed.data, at, bit % 8)), hash=hash) is Altered, bit


@hashed
def test_an_overwritten_beginning_or_end_is_not_another_key(known: bool) -> None:
    sealed, hash = sealed_and_hash(LONG, known)
    assert why(replace(sealed, data=bytes(40) + sealed.data[40:]), hash=hash) is Altered
    assert why(replace(sealed, data=sealed.data[:-60] + bytes(60)), hash=hash) is Truncated
    assert why(replace(sealed, data=bytes(40) + sealed.data[40:-30]), hash=hash) is Truncated


@contents
@hashed
def test_a_missing_end_is_called_that_however_much_is_missing(messages: list[VaultMessage], known: bool) -> None:
    sealed, hash = sealed_and_hash(messages, known)
    for size in range(len(sealed.data)):
        assert why(replace(sealed, data=sealed.data[:size]), hash=hash) is Truncated, size


@contents
def test_content_of_another_conversation_is_called_that(messages: list[VaultMessage]) -> None:
    sealed, hash = sealed_and_hash(messages, True)
    assert why(sealed, chat="d", hash=hash) is Swapped
    # Without its hash it could be altered as well, and the words say both.
    with pytest.raises(Altered, match="changed since it was sealed, or is another conversation's"):
        open_sealed(sealed, KEY, "p", "d")
    with pytest.raises(CannotOpen):
        open_sealed(sealed, KEY, "P", "c", hash)


# ---- times ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("2024-05-06T07:08:09Z", True),
        ("2024-05-06t07:08:09z", True),
        ("2024-05-06T07:08:09.123456789012+02:00", True),
        ("2024-05-06T07:08:09-23:59", True),
        ("2024-02-29T00:00:00Z", True),
        ("2023-02-29T00:00:00Z", False),
        ("2016-12-31T23:59:60Z", True),
        ("2017-01-01T00:59:60+01:00", True),
        ("2016-12-31T23:59:60+01:00", False),
        ("2016-12-31T23:59:61Z", False),
        ("0000-01-01T00:00:00Z", False),
        ("2024-05-06T07:08:09", False),
        ("2024-05-06", False),
        ("2024-05-06 07:08:09Z", False),
        ("2024-05-06T07:08Z", False),
        ("2024-05-06T24:00:00Z", False),
        ("2024-05-06T07:60:00Z", False),
        ("2024-00-06T07:08:09Z", False),
        ("2024-13-06T07:08:09Z", False),
        ("2024-05-00T07:08:09Z", False),
        ("2024-05-06T07:08:09+24:00", False),
        ("2024-05-06T07:08:09+02:60", False),
        ("2024-05-06T07:08:09+0200", False),
        ("2024-05-06T07:08:09.Z", False),
        ("2024-05-06T07:08:09,5Z", False),
        ("٢٠٢٤-05-06T07:08:09Z", False),
        ("2024-05-06T07:08:09Z\n", False),
        (" 2024-05-06T07:08:09Z", False),
        ("1714979289", False),
        ("", False),
    ],
)
def test_times(text: str, fits: bool) -> None:
    assert is_timestamp(text) is fits


# ---- secrecy --------------------------------------------------------------------------------------------------------


def test_nothing_secret_is_in_a_repr() -> None:
    shown = repr([KEY, HOLDER, wrap(KEY, HOLDER), seal(b"marker", KEY, "p", "c"), VaultMessage("user", "marker")])
    assert "marker" not in shown
    assert made.SECRET not in shown
    assert repr(KEY.secret) not in shown
    assert "b'" not in shown
