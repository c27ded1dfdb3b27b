"""Bytes as text: the standard base64 alphabet with padding, and no other spelling of it."""

from __future__ import annotations

import binascii
from base64 import b64encode


def to_text(data: bytes) -> str:
    return b64encode(data).decode()


def from_text(text: str) -> bytes:
    """Raises ValueError for anything but what ``to_text`` writes: other alphabets, missing padding, blanks, line
    breaks, and bits in the last character that say nothing.
    """
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise ValueError("not base64 of the standard alphabet with padding") from None
    last = data[-(len(data) % 3 or 3) :]
    if len(text) % 4 or not text.endswith(b64encode(last).decode()):
        raise ValueError("not base64 of the standard alphabet with padding")
    return data
