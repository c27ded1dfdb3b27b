"""The published Python samples, unchanged but for key and address, against ``backchat serve``; and every example of
``docs/dialects/threads.md`` that is Python."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from fpdf import FPDF

from served import Server, serving

HERE = Path(__file__).parent.parent
SAMPLES = sorted((HERE / "samples").glob("*.py"))
PAGE = HERE.parent / "docs" / "dialects" / "threads.md"
FACT = "The lighthouse of Vardal was lit for the first time in 1891."
EXPECTED: dict[str, list[str]] = {
    "first_message": ["Hello! Tell me a fun fact about space."],
    "first_message_stream": ["Tell me a short story about a robot learning to paint."],
    "tool_calls": ["get_current_weather", "68", "Sunny", "San Francisco"],
    "tool_calls_stream": ["get_current_weather", "68", "Sunny", "San Francisco"],
    "documents": ["Waiting for document to be indexed...", "Document indexed successfully!", FACT, "my_document.pdf"],
    "documents_stream": ["Document indexed successfully!", FACT, "my_document.pdf"],
    "memory": ["What do you remember about me?", "Sarah", "software engineer", "Google"],
    "memory_stream": ["Testing memory recall...", "Sarah", "software engineer", "Google"],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("samples")
    with serving(directory, config=HERE / "configs" / "threads.yml") as server:
        yield server


def run(server: Server, source: str, directory: Path) -> str:
    """What a script prints; it has a PDF beside it."""
    here = f'BackboardClient(api_key="{server.key}", base_url="http://127.0.0.1:{server.port}/api")'
    source, changed = re.subn(r'BackboardClient\(api_key="YOUR_API_KEY"(, base_url="[^"]*")?\)', here, source)
    assert changed == 1
    (directory / "sample.py").write_text(source, "utf-8")
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("helvetica", size=12)
    pdf.multi_cell(0, 8, f"Key points of the document. {FACT} It was built of granite.")
    pdf.output(str(directory / "my_document.pdf"))
    done = subprocess.run(
        [sys.executable, "sample.py"], cwd=directory, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.stem)
def test_a_published_sample(server: Server, tmp_path: Path, sample: Path) -> None:
    said = run(server, sample.read_text("utf-8"), tmp_path)
    for words in EXPECTED[sample.stem]:
        assert words in said, said
    assert "failed" not in said


def test_all_eight_are_there() -> None:
    assert {sample.stem for sample in SAMPLES} == set(EXPECTED)
    assert len(SAMPLES) == 8


def test_the_configuration_is_the_packaged_one_with_a_provider_more() -> None:
    ours = yaml.safe_load((HERE / "configs" / "threads.yml").read_text("utf-8"))
    packaged = yaml.safe_load((HERE.parent / "configs" / "minimal.yml").read_text("utf-8"))
    assert ours["providers"].pop("openai")["use"] == "echo"
    assert ours == packaged


def examples() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(examples())))
def test_an_example_of_the_page(server: Server, tmp_path: Path, number: int) -> None:
    said = run(server, examples()[number], tmp_path)
    expected = re.findall(r"# prints: (.*)", examples()[number])
    assert expected
    for words in expected:
        assert words in said
