"""What each method of the SDK is told, case by case; ``tests/dialects/test_threads_sdk.py`` runs them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from backchat.testing.server import Box
from threads_box import models

Case = Callable[[Any, Box, Path], Awaitable[None]]
CASES: dict[str, Case] = {}
LONG_AGO = timedelta(minutes=5)


def case(check: Case) -> Case:
    """The function's name is that of the method it is about."""
    CASES[check.__name__] = check
    return check


def recent(moment: datetime) -> bool:
    return moment.tzinfo is not None and datetime.now(UTC) - LONG_AGO < moment <= datetime.now(UTC)


async def a_document(client: Any, directory: Path, assistant: Any, words: str = "The harbour opens at nine.") -> Any:
    """Uploaded and read."""
    file = directory / "notes.md"
    file.write_text(f"# Notes\n\n{words}\n", "utf-8")
    document = await client.upload_document_to_assistant(assistant.assistant_id, file)
    return await read(client, document)


async def read(client: Any, document: Any) -> Any:
    while document.status in (models.DocumentStatus.PENDING, models.DocumentStatus.PROCESSING):
        await asyncio.sleep(0.05)
        document = await client.get_document_status(document.document_id)
    return document
