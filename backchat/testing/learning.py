"""For authors of learners, and of whatever calls one: the port's contract, and a notebook to try one on."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from backchat.domain.memory import Recalled
from backchat.errors import ProviderError
from backchat.ports.learning import Ask, Learned, Learner, Lesson, Unlearned
from backchat.services.memory_words import same_fact, share, wanted


class Notebook:
    """Memories as a learner finds them; ``note`` does what a learner says and returns what that was."""

    def __init__(self, *contents: str) -> None:
        self.kept: dict[str, str] = {f"m{n}": content for n, content in enumerate(contents, 1)}
        self._made = len(contents)

    async def similar(self, text: str, limit: int) -> Sequence[Recalled]:
        looked_for = wanted(text)
        found = [Recalled(id, content, share(looked_for, content)) for id, content in self.kept.items()]
        return sorted([m for m in found if m.score > 0], key=lambda m: -m.score)[:limit]

    def note(self, changes: Sequence[Learned | Unlearned]) -> Sequence[Learned | Unlearned]:
        for change in changes:
            if isinstance(change, Unlearned):
                del self.kept[change.id]
            elif change.replaces is not None:
                assert change.replaces in self.kept, "it replaces what there is"
                self.kept[change.replaces] = change.content
            else:
                self._made += 1
                self.kept[f"m{self._made}"] = change.content
        return changes

    @property
    def facts(self) -> list[str]:
        return list(self.kept.values())


class ScriptedModel:
    """An ``Ask`` that answers in turn what it is given; an exception is raised, what is no text becomes JSON."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, str]] = []

    async def __call__(self, instructions: str, text: str, schema: Mapping[str, Any]) -> str:
        self.asked.append((instructions, text))
        answer = self._answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, str) else json.dumps(answer)


def lesson(said: str, book: Notebook, ask: Ask | None = None, **prompts: str) -> Lesson:
    return Lesson(said=said, similar=book.similar, ask=ask, **prompts)


class LearnerContract(ABC):
    """Subclass it, provide a ``learner`` fixture, and pytest runs what every learner must keep.

    ``fact`` is something that the learner would remember when a user says it, without a model to ask.
    """

    fact = "I live in Lisbon."
    noise: Sequence[str] = ("", " \n\t", "\U0001f600", "\x00", "?" * 5000, "word " * 5000, "```\ncode", '"', "\u2028")

    @pytest.fixture
    @abstractmethod
    def learner(self) -> object:
        """The opened learner under test."""

    async def test_learns_a_fact(self, learner: Learner) -> None:
        changes = await learner.learn(lesson(self.fact, Notebook()))
        assert len(changes) == 1
        assert isinstance(changes[0], Learned)
        assert changes[0].content.strip()
        assert changes[0].replaces is None

    async def test_learns_nothing_twice(self, learner: Learner) -> None:
        book = Notebook()
        book.note(await learner.learn(lesson(self.fact, book)))
        for said in (self.fact, self.fact.upper(), f"{self.fact} {self.fact}"):
            assert list(await learner.learn(lesson(said, book))) == []
        assert len(book.facts) == 1

    async def test_a_fact_said_twice_in_one_turn_is_learned_once(self, learner: Learner) -> None:
        book = Notebook()
        book.note(await learner.learn(lesson(f"{self.fact} {self.fact}", book)))
        assert len(book.facts) == 1

    @pytest.mark.parametrize("place", range(9))
    async def test_noise_teaches_nothing(self, learner: Learner, place: int) -> None:
        assert list(await learner.learn(lesson(self.noise[place], Notebook(self.fact)))) == []

    async def test_what_is_known_already_is_not_touched_by_another_fact(self, learner: Learner) -> None:
        book = Notebook("The sky over the harbour is grey")
        book.note(await learner.learn(lesson(self.fact, book)))
        assert book.kept["m1"] == "The sky over the harbour is grey"
        assert len(book.facts) == 2

    async def test_raises_what_the_model_raises(self, learner: Learner) -> None:
        """Holds trivially for a learner that does not ask."""
        model = ScriptedModel(*[ProviderError("the model is away")] * 10)
        try:
            await learner.learn(lesson(self.fact, Notebook(), model))
        except ProviderError:
            return
        assert not model.asked

    async def test_nonsense_from_the_model_is_a_provider_error_or_nothing(self, learner: Learner) -> None:
        for nonsense in ("", "I cannot do that.", "[[[", "null", '{"facts": 3}', "\ud800", "{" * 3000):
            book = Notebook(self.fact)
            changes: Sequence[Learned | Unlearned] = ()
            problem = ""
            try:
                changes = await learner.learn(lesson(self.fact, book, ScriptedModel(*[nonsense] * 10)))
            except ProviderError as error:
                problem = str(error)
            assert self.fact not in problem
            assert all(isinstance(c, Unlearned) or not same_fact(c.content, nonsense) for c in changes)
            book.note(changes)
            assert self.fact in book.facts
