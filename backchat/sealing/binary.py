"""Bytes as text: the standard base64 alphabet with padding, and no other spelling of it.

What is long is written and read in slices: one of them keeps other threads waiting for a millisecond or two, and all of
it at once would for as long as it takes.
"""

from __future__ import annotations

import binascii
from base64 import b64encode

SLICE = 192 << 10
"""Bytes. A multiple of 3, so that the text of a slice, a third longer, is a multiple of 4 and has no padding."""
_TEXT = SLICE // 3 * 4
_REFUSED = "not base64 of the standard alphabet with padding"


def to_text(data: bytes) -> str:
    if len(data) <= SLICE:
        return b64encode(data).decode()
    return "".join([b64encode(data[at : at + SLICE]).decode() for at in range(0, len(data), SLICE)])


def from_text(text: str) -> bytes:
    """Raises ValueError for anything but what ``to_text`` writes: other alphabets, missing padding, blanks, line
    breaks, and bits in the last character that say nothing.
    """
    if len(text) <= _TEXT:
        return _read(text)
    slices = [_read(text[at : at + _TEXT]) for at in range(0, len(text), _TEXT)]
    if any(len(data) < SLICE for data in slices[:-1]):  # padding that is not at the end of all
        raise ValueError(_REFUSED)
    return b"".join(slices)


def _read(text: str) -> bytes:
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise ValueError(_REFUSED) from None
    last = data[-(len(data) % 3 or 3) :]
    if len(text) % 4 or not text.endswith(b64encode(last).decode()):
        raise ValueError(_REFUSED)
    return data
