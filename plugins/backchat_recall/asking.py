"""Learning by asking the model: which facts, and then what becomes of what is remembered already."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jsonschema

from backchat.domain.memory import Recalled
from backchat.errors import ProviderError
from backchat.ports.learning import Ask, Learned, Lesson, Unlearned
from backchat.services.memory_words import same_fact
from backchat_recall.prompts import (
    DECISIONS,
    EXTRACTION,
    EXTRACTION_RULES,
    FACTS,
    MOST_LENGTH,
    UPDATE,
    UPDATE_RULES,
)

MOST_SAID = 16_000
NEIGHBOURS = 5
MOST_NOTES = 40

T = TypeVar("T")


class _Unusable(Exception):
    """Why an answer cannot be used, in words for the model; nothing of the answer is in it."""


class Asking:
    """One lesson. What the user says is data: it reaches the model as a JSON string, beside rules that say so."""

    def __init__(self, lesson: Lesson, ask: Ask, most: int) -> None:
        self._lesson, self._ask, self._most = lesson, ask, most

    async def learn(self) -> Sequence[Learned | Unlearned]:
        facts = await self._facts()
        if not facts:
            return []
        notes = await self._notes(facts)
        if not notes:
            return [Learned(fact) for fact in facts]
        return await self._decisions(facts, notes)

    async def _facts(self) -> list[str]:
        rules = EXTRACTION_RULES.format(most=self._most, length=MOST_LENGTH)
        said = json.dumps({"said": self._lesson.said[:MOST_SAID]}, ensure_ascii=False)

        def read(answer: Any) -> list[str]:
            facts: list[str] = []
            for fact in map(_line, answer["facts"]):
                if fact and not any(same_fact(fact, other) for other in facts):
                    facts.append(fact)
            if len(facts) > self._most:
                raise _Unusable(f"there are more than {self._most} facts")
            return facts

        return await self._answer((self._lesson.extraction_prompt or EXTRACTION) + rules, said, FACTS, read)

    async def _notes(self, facts: Sequence[str]) -> Mapping[str, Recalled]:
        """Memories near the facts, under short ids that the model can copy without a mistake."""
        found: dict[str, Recalled] = {}
        for fact in facts:
            for near in await self._lesson.similar(fact, NEIGHBOURS):
                if len(found) < MOST_NOTES:
                    found.setdefault(near.id, near)
        return {f"n{n}": memory for n, memory in enumerate(found.values(), 1)}

    async def _decisions(self, facts: Sequence[str], notes: Mapping[str, Recalled]) -> Sequence[Learned | Unlearned]:
        shown = {
            "facts": [{"fact": n, "text": fact} for n, fact in enumerate(facts, 1)],
            "notes": [{"id": id, "text": memory.content} for id, memory in notes.items()],
        }

        def read(answer: Any) -> Sequence[Learned | Unlearned]:
            changes: list[Learned | Unlearned] = []
            decided: set[int] = set()
            touched: set[str] = set()
            for decision in answer["decisions"]:
                number, action, note = decision["fact"], decision["action"], decision.get("note")
                if not 1 <= number <= len(facts) or number in decided:
                    raise _Unusable("each fact needs exactly one decision, by its number")
                decided.add(number)
                text = _line(decision.get("text") or "") or facts[number - 1]
                if action in ("replace", "remove"):
                    if note not in notes:
                        raise _Unusable(f"{action} has to name one of the shown notes by its id")
                    # Of two facts that supersede the same note, the second stands on its own.
                    first, old = note not in touched, notes[note].id
                    touched.add(note)
                    if action == "replace":
                        changes.append(Learned(text, old if first else None))
                    elif first:
                        changes.append(Unlearned(old))
                elif action == "add":
                    changes.append(Learned(text))
            if len(decided) < len(facts):
                raise _Unusable("a fact is left without a decision")
            return changes

        instructions = (self._lesson.update_prompt or UPDATE) + UPDATE_RULES.format(length=MOST_LENGTH)
        return await self._answer(instructions, json.dumps(shown, ensure_ascii=False), DECISIONS, read)

    async def _answer(self, instructions: str, text: str, schema: Mapping[str, Any], read: Callable[[Any], T]) -> T:
        """Ask, and once again with what was wrong. Raises ProviderError after that."""
        problem = ""
        for _ in range(2):
            told = instructions + (f"\n\nYour last answer could not be used: {problem}." if problem else "")
            try:
                return read(await _parsed(await self._ask(told, text, schema), schema))
            except _Unusable as error:
                problem = str(error)
        raise ProviderError(f"the model's answer about what to remember could not be used: {problem}")


def _line(text: str) -> str:
    """The text of a fact on one line. Raises _Unusable."""
    line = " ".join(text.split())
    if len(line) > MOST_LENGTH:
        raise _Unusable(f"a text has more than {MOST_LENGTH} characters")
    try:
        line.encode()
    except UnicodeEncodeError:
        raise _Unusable("a text holds half a character") from None
    return line


async def _parsed(answer: str, schema: Mapping[str, Any]) -> Any:
    """The JSON of an answer, mended where that is possible, and valid. Raises _Unusable."""
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        found = await asyncio.to_thread(_repaired, answer)
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(found))
    if error is not None:
        place = error.json_path.removeprefix("$.") if error.path else "the answer"
        raise _Unusable(f"{place} does not fit the schema ({error.validator})")
    return found


def _repaired(answer: str) -> Any:
    from json_repair import repair_json

    try:
        return repair_json(answer, return_objects=True)
    except (ValueError, RecursionError):
        return None
