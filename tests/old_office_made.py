"""The least that .doc, .ppt and .xls files are made of: compound files with one or two streams in them."""

from __future__ import annotations

import struct
from collections.abc import Sequence

_END, _FREE, _FAT = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD


def compound(**streams: bytes) -> bytes:
    """A compound file; ``_`` in a name stands for a space, and ``T1`` for 1Table, which is no word of Python."""
    fat, entries, body = [_FAT, _END], [], b""
    names = [name.replace("_", " ").replace("T1", "1Table") for name in streams]
    for n, (name, data) in enumerate(zip(names, streams.values(), strict=True), 1):
        data = data.ljust(4096, b"\0")  # shorter ones would live in yet another structure
        sectors = -(-len(data) // 512)
        first = len(fat)
        fat += [*range(first + 1, first + sectors), _END]
        body += data.ljust(sectors * 512, b"\0")
        entries.append(_entry(name, 2, first, len(data), right=n + 1 if n < len(streams) else _FREE))
    fat += [_FREE] * (128 - len(fat))
    directory = (_entry("Root Entry", 5, _END, 0, child=1) + b"".join(entries)).ljust(512, b"\0")
    return (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
        + bytes(16)
        + struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
        + struct.pack("<10I", 0, 1, 1, 0, 4096, _END, 0, _END, 0, 0)
        + struct.pack("<I", _FREE) * 108
        + struct.pack("<128I", *fat)
        + directory
        + body
    )


def _entry(name: str, kind: int, start: int, size: int, *, right: int = _FREE, child: int = _FREE) -> bytes:
    text = name.encode("utf-16-le") + b"\0\0"
    return text.ljust(64, b"\0") + struct.pack("<HBBIII36xIQ", len(text), kind, 1, _FREE, right, child, start, size)


def xls(*rows: Sequence[str | float], sheet: str = "Sheet1") -> bytes:
    cells = b""
    for r, row in enumerate(rows):
        for c, value in enumerate(row):
            if isinstance(value, str):
                text = value.encode("utf-16-le")
                cells += _record(0x204, struct.pack("<HHHHB", r, c, 0, len(value), 1) + text)
            else:
                cells += _record(0x203, struct.pack("<HHHd", r, c, 0, value))

    def workbook(place: int) -> bytes:
        bound = struct.pack("<IHBB", place, 0, len(sheet), 0) + sheet.encode("ascii")
        return _begin(5) + _record(0x42, struct.pack("<H", 1200)) + _record(0x85, bound) + _record(0xA, b"")

    size = struct.pack("<IIHHH", 0, len(rows), 0, len(rows[0]), 0)
    book = workbook(len(workbook(0)))
    return compound(Workbook=book + _begin(0x10) + _record(0x200, size) + cells + _record(0xA, b""))


def _begin(kind: int) -> bytes:
    return _record(0x809, struct.pack("<HHHHII", 0x600, kind, 0xDBB, 0x7CC, 0, 6))


def _record(kind: int, body: bytes) -> bytes:
    return struct.pack("<HH", kind, len(body)) + body


def ppt(*texts: str) -> bytes:
    slides = b"".join(
        _atom(0x3F3, bytes(20)) + _atom(0xF9F, bytes(4)) + _atom(0xFA0, text.encode("utf-16-le")) for text in texts
    )
    return compound(PowerPoint_Document=_atom(1000, _atom(4080, slides, 0xF), 0xF))


def _atom(kind: int, body: bytes, version: int = 0) -> bytes:
    return struct.pack("<HHI", version, kind, len(body)) + body


def doc(text: str, *, locked: bool = False) -> bytes:
    words = text.encode("utf-16-le")
    header = bytearray(1024)
    struct.pack_into("<HH", header, 0, 0xA5EC, 0xC1)
    struct.pack_into("<H", header, 0x0A, 0x0200 | (0x0100 if locked else 0))
    struct.pack_into("<II", header, 0x18, 1024, 1024 + len(words))
    struct.pack_into("<H", header, 0x20, 14)
    struct.pack_into("<H", header, 0x3E, 22)
    struct.pack_into("<I", header, 0x40, 1024 + len(words))
    struct.pack_into("<I", header, 0x4C, len(text))
    struct.pack_into("<H", header, 0x98, 0x5D)
    pieces = struct.pack("<II", 0, len(text)) + struct.pack("<HIH", 0, 1024, 0)
    table = b"\x02" + struct.pack("<I", len(pieces)) + pieces
    struct.pack_into("<II", header, 0x1A2, 0, len(table))
    return compound(T1=table, WordDocument=bytes(header) + words)  # shorter names come first
