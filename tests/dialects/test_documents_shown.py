"""A PDF, a Word file, a spreadsheet and a Markdown file over HTTP: a question gets the passage, with file and page."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backchat.testing.plugin import Serve
from documents_made import docx, pdf, xlsx
from sdk_cases import read
from threads_box import THREADS, drain, models, sdk


@dataclass(frozen=True)
class Case:
    """``answer`` is what the question asks for, ``source`` how the passage is cited; ``others`` are not in it."""

    filename: str
    data: bytes
    question: str
    answer: str
    source: str
    others: tuple[str, ...] = ()


FILLER = "The committee met again and went through the minutes of the last meeting. " * 12
CASES = [
    Case(
        "Lighthouse report.pdf",
        pdf(FILLER, f"Keeper's notes. The lamp of Skerryvore was lit with colza oil in 1844. {FILLER}", FILLER),
        "What oil was the lamp of Skerryvore lit with?",
        "colza oil",
        "Lighthouse report.pdf, page 2",
    ),
    Case(
        "contract.docx",
        docx(FILLER, "The tenant, Ms Abernathy, pays 913 euros a month.", table=[["Deposit", "Notice"], [2739, "90"]]),
        "How much does the tenant Abernathy pay?",
        "pays 913 euros a month",
        "contract.docx",
    ),
    Case(
        "rivers.xlsx",
        xlsx(
            Lakes=[["Lake", "Depth"], *[[f"Lake {n}", n] for n in range(40)]],
            Rivers=[["River", "Length", "Mouth"], ["Rhine", 1233, "North Sea"], ["Loire", 1006, "Biscay"]],
        ),
        "What is the length of the Loire?",
        "River: Loire; Length: 1006; Mouth: Biscay",
        "rivers.xlsx, page 2",
        ("Lake 7",),
    ),
    Case(
        "Größe & notes.md",
        f"# Otters\n\n{FILLER}\n\n## Sleep\n\nOtters hold *hands* while they sleep.\n".encode(),
        "What do otters do while they sleep?",
        "Otters hold *hands* while they sleep.",
        "Größe & notes.md",
    ),
]
each_kind = pytest.mark.parametrize("case", CASES, ids=lambda c: c.filename.rpartition(".")[2])


def cited(reply: str) -> Mapping[str, str]:
    """The source of each citation in a reply of echo, and the text of the first passage from there."""
    found: dict[str, str] = {}
    for source, text in re.findall(r"^\[\d+\] ([^:]+): (.*?)(?=^\[\d+\] |\Z)", reply, re.S | re.M):
        found.setdefault(source, text)
    return found


def check(case: Case, reply: str, files: Any) -> None:
    assert files[0] == case.filename
    sources = cited(reply)
    assert next(iter(sources)) == case.source, sources
    assert case.answer in sources[case.source]
    assert not [words for words in case.others if words in sources[case.source]]


async def write_all(directory: Path) -> list[Path]:
    files = [directory / case.filename for case in CASES]
    for file, case in zip(files, CASES, strict=True):
        await asyncio.to_thread(file.write_bytes, case.data)
    return files


async def test_documents_of_an_assistant(serve: Serve, tmp_path: Path) -> None:
    """All four together: each question has to find its own among the passages of the others."""
    box = await serve(THREADS)
    async with sdk(box) as client:
        assistant = await client.create_assistant(name="reader")
        for file in await write_all(tmp_path):
            done = await read(client, await client.upload_document_to_assistant(assistant.assistant_id, file))
            assert (done.status, done.status_message) == (models.DocumentStatus.INDEXED, None)
            assert done.filename == file.name
            assert done.chunk_count > 0
        for case in CASES:
            said = await client.send_message(case.question, assistant_id=assistant.assistant_id)
            check(case, said.content, said.messages[-1]["retrieved_files"])
            thread = await client.create_thread(assistant.assistant_id)
            events = await drain(client.add_message(thread.thread_id, case.question, stream=True))
            text = "".join([e["content"] for e in events if e["type"] == "content_streaming"])
            check(case, text, events[-1]["retrieved_files"])
        nothing = await client.create_assistant(name="another")
        said = await client.send_message(CASES[0].question, assistant_id=nothing.assistant_id)
        assert (said.content, said.messages[-1]["retrieved_files"]) == (CASES[0].question, None)


@each_kind
async def test_an_attachment(serve: Serve, tmp_path: Path, case: Case) -> None:
    """The question comes with the file, and again later; other threads know nothing of it."""
    box = await serve(THREADS)
    (file,) = [f for f in await write_all(tmp_path) if f.name == case.filename]
    async with sdk(box) as client:
        assistant = (await client.create_assistant(name="a")).assistant_id
        thread = await client.create_thread(assistant)
        said = await client.add_message(thread.thread_id, case.question, files=[file])
        check(case, said.content, said.messages[-1]["retrieved_files"])
        (attached,) = said.messages[-1]["attachments"]
        assert attached["filename"] == case.filename
        later = await client.add_message(thread.thread_id, "Once more. " + case.question)
        check(case, later.content, later.messages[-1]["retrieved_files"])
        (document,) = await client.list_thread_documents(thread.thread_id)
        assert (str(document.document_id), document.status) == (attached["document_id"], models.DocumentStatus.INDEXED)
        other = await client.create_thread(assistant)
        elsewhere = await client.add_message(other.thread_id, case.question)
        assert (elsewhere.content, elsewhere.messages[-1]["retrieved_files"]) == (case.question, None)


async def test_attachments_of_every_kind_in_one_message(serve: Serve, tmp_path: Path) -> None:
    box = await serve(THREADS)
    async with sdk(box) as client:
        thread = await client.create_thread((await client.create_assistant(name="a")).assistant_id)
        files = await write_all(tmp_path)
        first = await client.add_message(thread.thread_id, CASES[0].question, files=files)
        check(CASES[0], first.content, first.messages[-1]["retrieved_files"])
        for case in CASES[1:]:
            said = await client.add_message(thread.thread_id, case.question)
            check(case, said.content, said.messages[-1]["retrieved_files"])
