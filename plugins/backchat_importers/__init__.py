"""Reads what other products export, and what backchat does."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.ports.importing import Importer
from backchat_importers.backchat import Backchat
from backchat_importers.chatbotui import ChatbotUI
from backchat_importers.chatgpt import ChatGPT
from backchat_importers.claude import Claude
from backchat_importers.librechat import LibreChat


@hookimpl
def backchat_importers() -> Sequence[Importer]:
    return [Backchat(), ChatbotUI(), ChatGPT(), Claude(), LibreChat()]
