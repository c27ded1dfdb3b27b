"""Documents of every kind, made while the tests run; and files that mean harm."""

from __future__ import annotations

import importlib
import io
import os
import random
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

from backchat.ports.extraction import Page

Rows = Sequence[Sequence[object]]
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
TYPES = b'<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'


def pdf(*pages: str) -> bytes:
    from fpdf import FPDF

    made = FPDF()
    for text in pages:
        made.add_page()
        made.set_font("Helvetica", size=12)
        made.multi_cell(0, 8, text)
    return bytes(made.output())


def locked_pdf(text: str) -> bytes:
    from fpdf import FPDF

    made = FPDF()
    made.add_page()
    made.set_font("Helvetica", size=12)
    made.multi_cell(0, 8, text)
    made.set_encryption(owner_password="owner", user_password="user")
    return bytes(made.output())


def docx(*paragraphs: str, table: Rows = ()) -> bytes:
    from docx import Document

    made = Document()
    for text in paragraphs:
        made.add_paragraph(text)
    if table:
        grid = made.add_table(rows=len(table), cols=len(table[0]))
        for n, row in enumerate(table):
            for m, cell in enumerate(row):
                grid.cell(n, m).text = str(cell)
    return _saved(made)


def xlsx(**sheets: Rows) -> bytes:
    from openpyxl import Workbook

    made = Workbook()
    made.remove(made.worksheets[0])
    for name, rows in sheets.items():
        sheet = made.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    return _saved(made)


def pptx(*slides: tuple[str, str]) -> bytes:
    from pptx import Presentation

    made = Presentation()
    for title, body in slides:
        slide: Any = made.slides.add_slide(made.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = body
    return _saved(made)


def _saved(made: Any) -> bytes:
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


def png() -> bytes:
    """One grey pixel."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0\x80")) + chunk(b"IEND", b"")
    )


def readable_files() -> dict[str, tuple[bytes, str]]:
    """File name to content and a phrase that must be found in its text."""
    rivers: Rows = [["River", "Length"], ["Rhine", 1233], ["Loire", 1006]]
    return {
        "falcon.pdf": (pdf("The falcon dives at 390 km/h."), "falcon dives at 390"),
        "owl.docx": (docx("R&D: an owl hears < 1 kHz."), "R&D: an owl hears < 1 kHz."),
        "rivers.xlsx": (xlsx(Rivers=rivers), "River: Rhine; Length: 1233"),
        "talk.pptx": (pptx(("Badgers", "They dig & sleep.")), "They dig & sleep."),
        "notes.txt": ("Größe: 漢字 🦊".encode(), "Größe: 漢字 🦊"),
        "latin.txt": ("Die Größe der Füchse überrascht.".encode("cp1252"), "Größe der Füchse"),
        "wide.txt": ("Füchse".encode("utf-16"), "Füchse"),
        "read.md": (b"# Otters\n\nThey *hold* hands.", "They *hold* hands."),
        "rivers.csv": (b"River;Length\nRhine;1233\n", "River: Rhine; Length: 1233"),
        "page.html": (b"<title>T</title><p>A &amp; B <b>bold</b></p><script>no()</script>", "A & B bold"),
        "data.json": (b'{"a": 1}', '{"a": 1}'),
        "lines.jsonl": (b'{"a": 1}\n{"a": 2}\n', '{"a": 2}'),
        "tree.xml": (b"<a><b c='d'>e</b></a>", "c='d'"),
        "code.py": (b"def f() -> int:\n    return 7\n", "return 7"),
    }


def zipped_parts(parts: dict[str, bytes]) -> bytes:
    """An archive of the given parts by name, as office documents are."""
    out = io.BytesIO()
    with ZipFile(out, "w", ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("[Content_Types].xml", TYPES)
        for name, data in parts.items():
            archive.writestr(name, data)
    return out.getvalue()


def _bomb(name: str, head: bytes, tail: bytes, megabytes: int, filler: bytes = b" ") -> bytes:
    """A small archive of a part that unpacks to very much."""
    out = io.BytesIO()
    block = filler * ((1 << 20) // len(filler))
    with ZipFile(out, "w", ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("[Content_Types].xml", TYPES)
        with archive.open(name, "w") as part:
            part.write(head)
            for _ in range(megabytes):
                part.write(block)
            part.write(tail)
    return out.getvalue()


def billion_laughs() -> bytes:
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    text = f'<w:document xmlns:w="{WORD}"><w:body><w:p><w:r><w:t>&l11;</w:t></w:r></w:p></w:body></w:document>'
    return f'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY l0 "lol">{levels}]>{text}'.encode()


def _pdf_objects(*objects: bytes) -> bytes:
    out = bytearray(b"%PDF-1.7\n")
    places = []
    for n, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n" % n + body + b"\nendobj\n"
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    for place in places:
        out += b"%010d 00000 n \n" % place
    out += b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, start)
    return bytes(out)


def endless_pdf() -> bytes:
    """A tree of pages whose branch is its own root, and which says that it has a hundred million."""
    return _pdf_objects(b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Count 100000000/Kids[2 0 R 2 0 R]>>")


def inflating_pdf(megabytes: int = 60) -> bytes:
    """A page whose content unpacks to very much."""
    squeeze = zlib.compressobj(1)
    stream = b"".join([squeeze.compress(b"BT (x) Tj ET " * 80_000) for _ in range(megabytes)]) + squeeze.flush()
    content = b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (len(stream), stream)
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R>>"
    return _pdf_objects(b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Count 1/Kids[3 0 R]>>", page, content)


def long_pdf(pages: int = 30_000) -> bytes:
    """Very many empty pages."""
    kids = b" ".join([b"3 0 R"] * pages)
    return _pdf_objects(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count %d/Kids[%s]>>" % (pages, kids),
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>",
    )


def _deep(depth: int) -> bytes:
    text = b"<w:tbl><w:tr><w:tc>" * depth + b"<w:p><w:r><w:t>deep</w:t></w:r></w:p>" + b"</w:tc></w:tr></w:tbl>" * depth
    return f'<w:document xmlns:w="{WORD}"><w:body>'.encode() + text + b"</w:body></w:document>"


def hostile_files() -> dict[str, bytes]:
    """Files that are not what they say, are broken, or mean harm: each must fail alone, with a sentence."""
    noise = random.Random(7).randbytes(200_000)
    good = pdf("A page.", "Another.")
    sheet = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
    cell = b'<row><c t="inlineStr"><is><t>aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa</t></is></c></row>'
    book = xlsx(S=[["a", "b"]])
    return {
        "program.pdf": b"\x7fELF\x02\x01\x01" + noise[:5000],
        "pdf.docx": good,
        "docx.pdf": docx("Words."),
        "noise.txt": noise,
        "noise.docx": noise,
        "noise.doc": noise,
        "noise.xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + noise,
        "noise.ppt": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "PowerPoint Document".encode("utf-16-le") + b"\0\0" + noise,
        "noise.pdf": b"%PDF-1.7\n" + noise,
        "truncated.pdf": good[: len(good) // 3],
        "truncated.docx": docx("Words.")[:9000],
        "truncated.xlsx": book[: len(book) // 2],
        "locked.pdf": locked_pdf("A secret."),
        "bomb.docx": _bomb("word/document.xml", f'<w:document xmlns:w="{WORD}">'.encode(), b"</w:document>", 260),
        "bomb.xlsx": _bomb("xl/worksheets/sheet1.xml", sheet, b"</sheetData></worksheet>", 64, cell),
        "bomb.pptx": _bomb("ppt/slides/slide1.xml", b"<a>", b"</a>", 260),
        "laughs.docx": zipped_parts({"word/document.xml": billion_laughs()}),
        "deep.docx": zipped_parts({"word/document.xml": _deep(50_000) + b"<"}),
        "paths.docx": zipped_parts({"../../../../tmp/escaped.txt": b"x", "/etc/escaped": b"x"}),
        "endless.pdf": endless_pdf(),
        "inflating.pdf": inflating_pdf(),
        "long.pdf": long_pdf(),
        "blank.pdf": pdf(""),
        "spaces.txt": b" \n" * 1000,
        "nested.html": b"<div>" * 200_000,
    }


def crash(data: bytes, name: str) -> Sequence[Page]:
    """An extractor that dies of a bad address."""
    import ctypes

    ctypes.string_at(1)
    return []


def hang(data: bytes, name: str) -> Sequence[Page]:
    """An extractor that never ends, nor do the processes that it starts; the second one leaves its group."""
    for alone in (False, True):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=alone)
    while True:
        time.sleep(60)


def spin(data: bytes, name: str) -> Sequence[Page]:
    while True:
        pass


def devour(data: bytes, name: str) -> Sequence[Page]:
    held = []
    while True:
        held.append(bytearray(1 << 24))


def babble(data: bytes, name: str) -> Sequence[Page]:
    """Prints where only answers belong, and writes more than anybody asked for."""
    print("not JSON")
    os.write(1, b"noise\n")
    sys.stderr.write("what the file says\n" * 100_000)
    return [Page("heard")]


def meddle(data: bytes, name: str) -> Sequence[Page]:
    """Says what it can reach: the names in its environment, its folder, and how much it may write there."""
    folder = Path(os.environ["TMPDIR"])
    wrote = 0
    try:
        with (folder / "file").open("wb", buffering=0) as file:
            while wrote < 1 << 28:
                wrote += file.write(bytes(1 << 20))
    except OSError:
        pass
    return [Page(f"{' '.join(sorted(os.environ))}|{folder}|{wrote >> 20}")]


def reach(data: bytes, name: str) -> Sequence[Page]:
    """Tries what a file that took its reader over would. It is told the server's pid, a port, and a file."""
    pid, port, path = data.decode().split()

    def write() -> None:
        Path(path).write_text("written")

    def fill() -> int:
        wrote = 0
        try:
            for n in range(3):
                with open(f"{os.environ['TMPDIR']}/{n}", "wb", buffering=0) as file:
                    while file.tell() < 64 << 20:
                        wrote += file.write(bytes(1 << 20))
        except OSError:
            pass
        return wrote >> 20

    tried: dict[str, Callable[[], object]] = {
        "network": lambda: socket.create_connection(("127.0.0.1", int(port)), timeout=5),
        "keys": Path(f"/proc/{pid}/environ").read_bytes,
        "read": Path(path).read_bytes,
        "write": write,
        "signal": lambda: os.kill(int(pid), 0),
        "libraries": lambda: importlib.import_module("sqlite3"),
    }
    said = [f"space {fill()}"]
    for what, call in tried.items():
        try:
            call()
            said.append(f"{what} yes")
        except OSError:
            said.append(f"{what} no")
    return [Page("\n".join(said))]


def absent(data: bytes, name: str) -> Sequence[Page]:
    import backchat_no_such_library  # type: ignore[import-not-found]

    return [Page(str(backchat_no_such_library))]
