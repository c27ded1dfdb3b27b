"""Text of files, read by another process: what comes out, and what a file can do to the server (nothing)."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date, datetime
from datetime import time as clock
from pathlib import Path

import psutil
import pytest

import old_office_made
from backchat.domain.limits import DocumentLimits
from backchat.errors import ConfigError
from backchat.ports.extraction import Extractor, Unreadable
from backchat.services.extraction import Extracted, Extraction, by_suffix
from backchat_extract import backchat_extractors
from documents_made import docx, hostile_files, inflating_pdf, pdf, pptx, readable_files, xlsx, zipped_parts

READABLE = readable_files()
ODD = {
    f".{name}": Extractor(name, (f".{name}",), f"documents_made:{name}", extra)
    for name, extra in [
        *((n, None) for n in ("crash", "hang", "spin", "devour", "babble", "meddle", "reach", "absent")),
    ]
} | {
    ".nowhere": Extractor("nowhere", (".nowhere",), "backchat_no_such_plugin:text", "backchat-mine[fast]"),
    ".nothing": Extractor("nothing", (".nothing",), "documents_made:no_such_function"),
}


def extraction(**limits: float) -> Extraction:
    return Extraction({**by_suffix(backchat_extractors()), **ODD}, DocumentLimits(**limits))  # type: ignore[arg-type]


def whole(extracted: Extracted) -> str:
    return "\n".join(cut.text for cut in extracted.cuts)


async def problem(name: str, data: bytes, **limits: float) -> str:
    with pytest.raises(Unreadable) as caught:
        await extraction(**limits).read(name, data)
    return str(caught.value)


@contextmanager
def lively() -> Iterator[list[float]]:
    """How long the loop was away, in seconds, each time it was asked."""
    gaps: list[float] = []

    async def watch() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.005)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    task = asyncio.ensure_future(watch())
    try:
        yield gaps
    finally:
        task.cancel()


@pytest.mark.parametrize("name", READABLE)
async def test_every_kind_of_file_is_read(name: str) -> None:
    data, phrase = READABLE[name]
    extracted = await extraction().read(name, data)
    assert phrase in whole(extracted)
    assert extracted.characters >= len(phrase)
    assert not [p for p in psutil.Process().children() if "extraction_child" in " ".join(p.cmdline())]


async def test_pages_of_a_pdf() -> None:
    extracted = await extraction().read("a.PDF", pdf("The falcon flies.", "The owl hears.", "The badger digs."))
    assert [(c.page, c.text) for c in extracted.cuts] == [
        (1, "The falcon flies."),
        (2, "The owl hears."),
        (3, "The badger digs."),
    ]
    assert extracted.pages == 3
    assert [(c.start, c.end) for c in extracted.cuts] == [(0, 17), (19, 33), (35, 51)]
    assert extracted.characters == 51
    assert extracted.summary == "The falcon flies. The owl hears. The badger digs."


async def test_slides_and_sheets_are_pages() -> None:
    slides = await extraction().read("a.pptx", pptx(("Owls", "They hear."), ("Otters", "They hold hands.")))
    assert [(c.page, c.text) for c in slides.cuts] == [(1, "Owls\n\nThey hear."), (2, "Otters\n\nThey hold hands.")]
    book = xlsx(Rivers=[["River", "Length"], ["Rhine", 1233]], Empty=[], Lakes=[["Lake", "Depth"], ["Baikal", 1642]])
    sheets = await extraction().read("a.xlsx", book)
    assert [(c.page, c.text) for c in sheets.cuts] == [
        (1, "Rivers\n\nRiver | Length\nRiver: Rhine; Length: 1233"),
        (3, "Lakes\n\nLake | Depth\nLake: Baikal; Depth: 1642"),
    ]
    assert (slides.pages, sheets.pages) == (2, 3)


async def test_the_older_office_formats() -> None:
    reads = extraction()
    word = await reads.read("a.doc", old_office_made.doc("Foxes dig \u2013 ünï.\rThey sleep."))
    assert whole(word) == "Foxes dig \u2013 ünï.\nThey sleep."
    rich = await reads.read("b.doc", rb"{\rtf1\ansi Foxes dig.\par They sleep.}")
    assert "Foxes dig." in whole(rich)
    slides = await reads.read("a.ppt", old_office_made.ppt("Badgers dig.", "Owls hear."))
    assert whole(slides) == "Badgers dig.\n\nOwls hear."
    book = await reads.read("a.xls", old_office_made.xls(["River", "Length"], ["Rhine", 1233.0]))
    assert [(c.page, c.text) for c in book.cuts] == [(1, "Sheet1\n\nRiver | Length\nRiver: Rhine; Length: 1233")]


async def test_what_is_protected_with_a_password() -> None:
    package = old_office_made.compound(EncryptedPackage=b"x")
    for name, data in {
        "a.doc": old_office_made.doc("Foxes.", locked=True),
        "a.ppt": old_office_made.compound(EncryptedSummary=b"x", PowerPoint_Document=b"x"),
        "a.docx": package,
        "a.xlsx": package,
        "a.pptx": package,
    }.items():
        assert await problem(name, data) == "it is protected with a password", name


async def test_dates_and_times_of_a_workbook() -> None:
    when: list[list[object]] = [
        ["Day", "Moment", "Time"],
        [date(2026, 1, 31), datetime(2026, 1, 31, 9, 30), clock(9, 5)],
    ]
    extracted = await extraction().read("a.xlsx", xlsx(When=when))
    assert whole(extracted).endswith("Day: 2026-01-31; Moment: 2026-01-31 09:30:00; Time: 09:05:00")


async def test_a_late_row_stands_with_the_names_of_its_columns() -> None:
    rows: list[list[object]] = [["Station", "Rainfall mm"], *([f"S{n}", n] for n in range(2000))]
    extracted = await extraction().read("rain.xlsx", xlsx(Rain=rows))
    assert len(extracted.cuts) > 20
    [late] = [c.text for c in extracted.cuts if "S1777;" in c.text]
    assert "Station: S1777; Rainfall mm: 1777" in late


async def test_a_large_table_names_its_columns_again_and_again() -> None:
    names = [f"a column with quite a long name {n}" for n in range(8)]
    lines = "\n".join([",".join(names), *(",".join(f"v{n}" for _ in range(8)) for n in range(20_000))])
    extracted = await extraction().read("large.csv", lines.encode())
    assert extracted.characters < 2 * len(lines)
    assert sum(names[0] in c.text for c in extracted.cuts) > len(extracted.cuts) * 0.9


async def test_what_a_word_document_holds_besides_paragraphs() -> None:
    extracted = await extraction().read("a.docx", docx("A & B < C.", table=[["Name", "Age"], ["Ann", "41"]]))
    assert whole(extracted) == "A & B < C.\n\nName | Age\nName: Ann; Age: 41"
    inner = (
        '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" xmlns:mc="urn:mc"><w:body>'
        "<w:p><w:r><w:t>kept</w:t><w:tab/><w:t>on</w:t></w:r><w:del><w:r><w:t>deleted</w:t></w:r></w:del></w:p>"
        "<mc:Fallback><w:p><w:r><w:t>twice</w:t></w:r></w:p></mc:Fallback></w:body></w:document>"
    )
    note = inner.replace("kept", "footnote")
    parts = {"word/document.xml": inner.encode(), "word/footnotes.xml": note.encode()}
    extracted = await extraction().read("b.docx", zipped_parts(parts))
    assert whole(extracted) == "kept\ton\n\nfootnote\ton"


@pytest.mark.parametrize("name", ["long.txt", "long.md", "one-word.txt", "letters.txt"])
async def test_positions_and_lengths_of_pieces(name: str) -> None:
    text = {
        "long.txt": "\n\n".join(f"Paragraph {n} says 🦊. " * (n % 40 + 1) for n in range(300)),
        "long.md": "\n\n".join(f"# Head {n}\n\nSome *words* of {n}." for n in range(2000)),
        "one-word.txt": "x" * 60_000,
        "letters.txt": "a\n\n" * 30_000,
    }[name]
    extracted = await extraction(chunk=500).read(name, text.encode())
    assert extracted.characters == len(text)
    assert all(text[c.start : c.end] == c.text and 0 < len(c.text) <= 500 for c in extracted.cuts)
    kept = "".join(c.text for c in extracted.cuts)
    assert "".join(kept.split()) == "".join(text.split())
    assert all(a.end <= b.start for a, b in zip(extracted.cuts, extracted.cuts[1:], strict=False))
    assert len(extracted.cuts) <= 2 * len(text) // 500 + 2


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("One. Two.", "One. Two."),
        ("A sentence of some length stands here. " * 20, ("A sentence of some length stands here. " * 7).strip()),
        ("word " * 200, ("word " * 59).strip() + "…"),
    ],
)
async def test_the_summary_is_the_first_sentences(text: str, summary: str) -> None:
    extracted = await extraction().read("a.txt", text.encode())
    assert extracted.summary == summary
    assert len(extracted.summary) <= 300


async def test_characters_that_no_store_takes_are_left_out() -> None:
    extracted = await extraction().read("a.json", b'"\xef\xbb\xbf a\x01b\r\nc\rd"' + b" " * 200)
    assert whole(extracted) == '" ab\nc\nd"'


async def test_text_that_is_there_already() -> None:
    extracted = await extraction().cut("photo.png", "A grey pixel. It says: EXIT.")
    assert whole(extracted) == "A grey pixel. It says: EXIT."


SENTENCES = {
    "program.pdf": "the file is not a PDF",
    "pdf.docx": "the file is not a Word document (.docx)",
    "noise.txt": "the file is not text",
    "truncated.pdf": "its text could not be read: it is damaged",
    "truncated.docx": "its text could not be read: it is damaged",
    "locked.pdf": "it is protected with a password",
    "bomb.docx": "it unpacks to more than can be read (256 MiB)",
    "laughs.docx": "its text could not be read: it is damaged",
    "paths.docx": "the file is not a Word document (.docx)",
    "spaces.txt": "no text was found in it; text in pictures and scans is not read",
}


async def test_hostile_files_fail_alone_and_the_loop_goes_on() -> None:
    files = await asyncio.to_thread(hostile_files)
    assert len(files) >= 20
    reads, two = extraction(time_limit=30), asyncio.Semaphore(2)

    async def one(name: str, data: bytes) -> str:
        async with two:
            with pytest.raises(Unreadable) as caught:
                await reads.read(name, data)
            return str(caught.value)

    with lively() as gaps:
        said = dict(zip(files, await asyncio.gather(*(one(n, d) for n, d in files.items())), strict=True))
    for name, sentence in said.items():
        assert sentence == SENTENCES.get(name, sentence), name
        assert 10 < len(sentence) < 160, name
    assert not await asyncio.to_thread(Path("/tmp/escaped.txt").exists)
    assert len(gaps) > 100
    assert max(gaps) < 1
    data, phrase = READABLE["falcon.pdf"]
    assert phrase in whole(await reads.read("falcon.pdf", data))


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("crash", "its text could not be read: it is damaged"),
        ("spin", "reading it took longer than 1 seconds"),
        ("devour", "reading it needs more memory than this server allows (128 MiB)"),
        ("absent", "this server cannot read .absent files: its owner can install backchat[documents]"),
        ("nowhere", "this server cannot read .nowhere files: its owner can install backchat-mine[fast]"),
        ("nothing", "its text could not be read: it is damaged"),
        ("unknown", "this server cannot read .unknown files"),
    ],
)
async def test_readers_that_fail(kind: str, sentence: str) -> None:
    limits = {"time_limit": 1} if kind == "spin" else {"memory_limit": 128 << 20}
    assert await problem(f"a.{kind}", b"x", **limits) == sentence


async def test_a_library_without_memory_is_told_from_damage_as_far_as_can_be() -> None:
    data = await asyncio.to_thread(inflating_pdf)
    assert "more memory than this server allows (96 MiB)" in await problem("a.pdf", data, memory_limit=96 << 20)


@pytest.mark.parametrize("how", ["time", "cancel"])
async def test_a_reader_that_hangs_goes_with_all_it_started(how: str) -> None:
    seconds = 2.0 if how == "time" else 60.0
    before = set(psutil.Process().children(recursive=True))
    task = asyncio.create_task(extraction(time_limit=seconds).read("a.hang", b"x"))
    started = await asyncio.to_thread(started_since, before)
    began = time.monotonic()
    if how == "cancel":
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        with pytest.raises(Unreadable, match="2 seconds"):
            await task
    assert time.monotonic() - began < 4
    assert await asyncio.to_thread(all_ended, started)


def without(monkeypatch: pytest.MonkeyPatch, folder: Path, *names: str) -> None:
    """Have readers run as on a system where these functions of the jail come to nothing."""
    script = folder / "python"
    undone = "\n".join(f"extraction_jail.{name} = lambda *_: False" for name in names)
    script.write_text(
        f"#!{sys.executable} -IB\nfrom backchat.services import extraction_child, extraction_jail\n"
        f"{undone}\nextraction_child.main()\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


async def test_what_outlives_a_reader_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, tmp_path, "_in_namespaces")
    before = set(psutil.Process().children(recursive=True))
    task = asyncio.create_task(extraction(time_limit=2).read("a.hang", b"x"))
    started = await asyncio.to_thread(started_since, before)
    began = time.monotonic()
    try:
        with pytest.raises(Unreadable, match="2 seconds"):
            await task
        assert time.monotonic() - began < 4
    finally:
        for process in started:
            with suppress(psutil.NoSuchProcess):
                process.kill()


SHUT_IN = {
    "network": "no",
    "keys": "no",
    "read": "no",
    "write": "no",
    "signal": "no",
    "space": "128",
    "libraries": "yes",
}


@pytest.mark.parametrize(
    ("missing", "differs"),
    [
        ((), {}),
        (("_in_namespaces",), {"space": "192"}),
        (("_behind_landlock",), {"read": "yes", "write": "yes"}),
    ],
)
async def test_what_a_reader_cannot_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...], differs: dict[str, str]
) -> None:
    without(monkeypatch, tmp_path, *missing)
    secret, listener = tmp_path / "secret", socket.create_server(("127.0.0.1", 0))
    secret.write_text("s3cret")
    target = f"{os.getpid()} {listener.getsockname()[1]} {secret}"
    with listener:
        said = dict(line.split() for line in whole(await extraction().read("a.reach", target.encode())).splitlines())
    assert said == SHUT_IN | differs
    assert secret.read_text() == ("written" if said["write"] == "yes" else "s3cret")


def started_since(before: set[psutil.Process], wanted: int = 2) -> list[psutil.Process]:
    """Everything below this process that was not there, as soon as so many of them only sleep."""
    while True:
        found = [p for p in psutil.Process().children(recursive=True) if p not in before]
        with suppress(psutil.NoSuchProcess):
            if sum("sleep" in " ".join(p.cmdline()) for p in found) >= wanted:
                return found
        time.sleep(0.01)


def all_ended(processes: list[psutil.Process]) -> bool:
    """Whether all are gone within ten seconds; the system may take a moment to bury them."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes):
            return True
        time.sleep(0.01)
    return False


async def test_what_a_library_prints_is_no_answer_and_reaches_no_log(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert whole(await extraction().read("a.babble", b"x")) == "heard"
    assert "what the file says" not in "".join(capfd.readouterr()) + caplog.text


async def test_a_reader_knows_no_secrets_and_leaves_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKCHAT_SECRET", "s3cret")
    said = [whole(await extraction().read("a.meddle", b"x")).split("|") for _ in range(2)]
    for names, folder, wrote in said:
        assert set(names.split()) <= {"LANG", "LC_CTYPE", "HOME", "TMPDIR", "TOKIO_WORKER_THREADS", "RAYON_NUM_THREADS"}
        assert wrote == "64"
        assert not await asyncio.to_thread(Path(folder).exists)
    assert said[0][1] != said[1][1]


async def test_the_first_pdf_on_a_new_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    data, phrase = READABLE["falcon.pdf"]
    assert phrase in whole(await extraction().read("falcon.pdf", data))
    assert not await asyncio.to_thread(lambda: list(tmp_path.iterdir()))


@pytest.mark.parametrize("after", [0.0, 0.002, 0.01, 0.05, 0.1])
async def test_reading_stopped_at_any_moment_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: float
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(psutil.Process().children(recursive=True))
    task = asyncio.create_task(extraction().read("falcon.pdf", READABLE["falcon.pdf"][0]))
    await asyncio.wait([task], timeout=after)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(all_ended, list(set(psutil.Process().children(recursive=True)) - before))
    assert not await asyncio.to_thread(lambda: list(tmp_path.iterdir()))


async def test_no_place_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert await problem("a.txt", b"Words.") == "this server has no place for temporary files"


async def test_more_text_than_is_taken() -> None:
    assert await problem("a.txt", b"word " * 500, max_text=1000) == (
        "it holds more text than this server takes (1,000 characters)"
    )
    # Three bytes on the wire for one character are no reason to refuse it.
    extracted = await extraction(max_text=1000).read("a.txt", ("漢" * 999).encode())
    assert extracted.characters == 999


async def test_two_extractors_for_one_ending_stop_the_start() -> None:
    mine = Extractor("mine", (".txt",), "documents_made:crash")
    with pytest.raises(ConfigError, match=r"extractors text and mine both read \.txt files"):
        by_suffix([*backchat_extractors(), mine])
