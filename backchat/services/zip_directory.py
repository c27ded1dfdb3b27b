"""A look at the directory of a zip file before all of it is loaded: a small file may have millions of entries."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from backchat.errors import InvalidInput

MOST = 8 << 20
"""Bytes of a directory: room for some ten thousands of files."""
_END, _END_SIZE, _COMMENT = b"PK\x05\x06", 22, 0xFFFF
_LOCATOR, _LOCATOR_SIZE = b"PK\x06\x07", 20
_END64, _END64_SIZE = b"PK\x06\x06", 56


def check_directory(file: BinaryIO) -> None:
    """Raises InvalidInput for one that is too long. What is damaged is for ``zipfile`` to find."""
    end = file.seek(0, os.SEEK_END)
    tail_at = max(0, end - _END_SIZE - _COMMENT - _LOCATOR_SIZE)
    file.seek(tail_at)
    tail = file.read()
    at = tail.rfind(_END)
    sizes = [0]
    while at >= 0:  # those in the comment too: which one counts is not ours to say
        if len(tail) - at >= _END_SIZE:
            (size,) = struct.unpack_from("<L", tail, at + 12)
            sizes.append(size if size != 0xFFFFFFFF else 0)
            if at >= _LOCATOR_SIZE and tail.startswith(_LOCATOR, at - _LOCATOR_SIZE):
                (place,) = struct.unpack_from("<Q", tail, at - _LOCATOR_SIZE + 8)
                sizes.append(_size64(file, place, tail_at + at - _LOCATOR_SIZE - _END64_SIZE))
        at = tail.rfind(_END, 0, at)
    file.seek(0)
    if max(sizes) > MOST:
        raise InvalidInput("the zip file has too many files in it")


def _size64(file: BinaryIO, *places: int) -> int:
    """The larger size, of the record where the locator says and of the one right before it."""
    found = 0
    for place in places:
        if 0 <= place < 1 << 62:
            file.seek(place)
            record = file.read(_END64_SIZE)
            if len(record) == _END64_SIZE and record.startswith(_END64):
                found = max(found, struct.unpack_from("<Q", record, 40)[0])
    return found
