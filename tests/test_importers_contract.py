"""The importers of foreign formats keep the port's contract, and do not mistake each other's files."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from backchat.ports.importing import Importer
from backchat.testing.importing import ImporterContract, shapes
from backchat_importers import backchat_importers
from backchat_importers.chatbotui import ChatbotUI
from backchat_importers.chatgpt import ChatGPT
from backchat_importers.claude import Claude
from backchat_importers.librechat import LibreChat
from imports_made import good_files

GOOD = good_files()


class TestLibreChat(ImporterContract):
    @pytest.fixture
    def importer(self) -> Importer:
        return LibreChat()

    @pytest.fixture
    def samples(self) -> Mapping[str, bytes]:
        return GOOD["librechat"]


class TestChatGPT(ImporterContract):
    @pytest.fixture
    def importer(self) -> Importer:
        return ChatGPT()

    @pytest.fixture
    def samples(self) -> Mapping[str, bytes]:
        return GOOD["chatgpt"]


class TestClaude(ImporterContract):
    @pytest.fixture
    def importer(self) -> Importer:
        return Claude()

    @pytest.fixture
    def samples(self) -> Mapping[str, bytes]:
        return GOOD["claude"]


class TestChatbotUI(ImporterContract):
    @pytest.fixture
    def importer(self) -> Importer:
        return ChatbotUI()

    @pytest.fixture
    def samples(self) -> Mapping[str, bytes]:
        return GOOD["chatbotui"]


@pytest.mark.parametrize(("product", "name"), [(p, n) for p, files in GOOD.items() for n in files])
def test_exactly_one_knows_a_file(product: str, name: str) -> None:
    known = shapes(GOOD[product][name])
    assert [i.name for i in backchat_importers() if any(map(i.recognises, known))] == [product]
