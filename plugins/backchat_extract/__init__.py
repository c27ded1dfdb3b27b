"""Text of files: plain text and tables, web pages, PDF, and the documents of office programs old and new."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.ports.extraction import Extractor

# fmt: off
TEXT = (
    ".txt", ".text", ".md", ".markdown", ".rst", ".log", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml",
    ".py", ".js", ".ts", ".jsx", ".tsx", ".css", ".cpp", ".c", ".h", ".java", ".go", ".rs", ".rb", ".php", ".sql",
)
# fmt: on
OFFICE = (".pdf", ".pptx", ".ppt", ".xlsx", ".xls", ".doc")


@hookimpl
def backchat_extractors() -> Sequence[Extractor]:
    return [
        Extractor("text", TEXT, "backchat_extract.plain:text", "documents"),
        Extractor("tables", (".csv", ".tsv"), "backchat_extract.plain:table", "documents"),
        Extractor("html", (".html", ".htm"), "backchat_extract.hypertext:text", "documents"),
        Extractor("docx", (".docx",), "backchat_extract.word:text", "documents"),
        Extractor("office", OFFICE, "backchat_extract.office:text", "documents"),
    ]
