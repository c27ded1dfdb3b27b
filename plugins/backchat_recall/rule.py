"""Learning by a rule, where no model follows instructions: plain sentences about oneself, in English.

What a statement denies ("I no longer ...") goes; what takes its place, or says something else, stays. "Forget that I
like tea" takes back the one memory that it names. "Forget everything you know about me" names none and changes nothing:
all memories of an assistant are deleted by a request of their own, not by a sentence that somebody may have pasted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

from backchat.domain.memory import Recalled
from backchat.ports.learning import Learned, Lesson, Unlearned
from backchat.services.memory_words import same_fact, share, wanted
from backchat_recall.denials import denied, denies, is_habit, rivals
from backchat_recall.facts import Statement, clauses, statements
from backchat_recall.sentences import own_sentences
from backchat_recall.slots import contradicts, slots

NEIGHBOURS = 20
_INSTEAD = re.compile(
    r"(?:(?:no|sorry|actually|wait|oops|correction)[,:]?\s+)*(?:it(?:'s| is)|that(?:'s| is)|it should be|i meant)\s+(?:"
    r"not (?P<old>[^,]{1,60}?),? but (?:rather )?(?P<new>[^,]{1,60})|"
    r"(?P<newer>[^,]{1,60}?),? (?:and )?not (?P<older>[^,]{1,60}))$",
    re.I,
)
_FORGET = re.compile(
    r"(?:please |can you |could you )*(?:forget|do not remember|don't remember)"
    r"(?: (?:that|about|what i said about|the fact that))* (?!(?:everything|anything|all)\b)(?P<what>.{3,300})$",
    re.I,
)
_I_AM = re.compile(r"I(?:['\u2019]m| am) (?P<name>\w+(?: \w+)?)", re.I)
Changes = list[Learned | Unlearned]


async def learn_by_rule(lesson: Lesson, most: int) -> Sequence[Learned | Unlearned]:
    """At most ``most`` changes.

    Of a long turn the first twice as many statements are looked at: each takes searches, which an embedder may charge.
    """
    changes: Changes = []
    for statement in islice(statements(lesson.said), 2 * most):
        if len(changes) >= most:
            break
        await _learn(lesson, statement, changes)
    if not changes:
        await _amend(lesson, changes, 2 * most)
    return changes[:most]


async def _learn(lesson: Lesson, statement: Statement, changes: Changes) -> None:
    """What a statement changes, beside what the earlier ones of the same turn do."""
    text = statement.text
    if (former := denied(text)) is not None:
        await _deny(lesson, text, former, changes)
        return
    for n, change in enumerate(changes):
        if isinstance(change, Learned) and same_fact(change.content, text):
            return
        if isinstance(change, Learned) and _ends(text, change.content, statement.corrects):
            changes[n] = Learned(text, change.replaces)
            return
    taken = _taken(changes)
    found = await _near(lesson, text)
    near = [m for m in found if m.id not in taken]
    if any(same_fact(m.content, text) or _names(m.content, text) for m in near):
        return
    place: str | None = None
    for memory in near:
        parts = clauses(memory.content)
        rest = [part for part in parts if not _ends(text, part, statement.corrects)]
        if len(rest) == len(parts):
            continue
        if rest:
            changes.append(Learned(" and ".join(rest), memory.id))
        elif place is None:
            place = memory.id
        else:
            changes.append(Unlearned(memory.id))
    for memory in found:
        # "I no longer live in Berlin, I moved to Paris": the second is what becomes of the memory of the first.
        gone = Unlearned(memory.id)
        if place is None and gone in changes and contradicts(text, memory.content, statement.corrects):
            changes.remove(gone)
            place = memory.id
    changes.append(Learned(text, place))


async def _deny(lesson: Lesson, text: str, former: str, changes: Changes) -> None:
    """What denies something changes only what says it. It is a fact of its own if nothing said it, or implies it."""
    for n, change in enumerate(changes):
        if isinstance(change, Unlearned):
            continue
        if _is_denied(former, change.content):
            if is_habit(former):
                changes[n] = Learned(text, change.replaces)
            elif change.replaces is not None:
                changes[n] = Unlearned(change.replaces)
            else:
                del changes[n]
            return
        if same_fact(change.content, text) or rivals(former, change.content):
            return
    taken = _taken(changes)
    near = {m.id: m for m in [*await _near(lesson, text), *await lesson.similar(former, NEIGHBOURS)]}
    if any(_denies_too(former, part) for m in near.values() for part in clauses(m.content)):
        return
    worth, said = is_habit(former), False
    for memory in near.values():
        parts = clauses(memory.content)
        rest = [part for part in parts if not _is_denied(former, part)]
        if len(rest) == len(parts):
            said = said or (not worth and any(rivals(former, part) for part in parts))
            continue
        said = said or not worth or memory.id in taken
        if memory.id in taken:
            continue
        if rest:
            changes.append(Learned(" and ".join(rest), memory.id))
        elif worth and not said:
            changes.append(Learned(text, memory.id))
            said = True
        else:
            changes.append(Unlearned(memory.id))
    if not said:
        changes.append(Learned(text))


def _taken(changes: Changes) -> set[str | None]:
    return {c.replaces if isinstance(c, Learned) else c.id for c in changes}


def _ends(text: str, part: str, corrects: bool) -> bool:
    """Whether a statement makes a known one untrue, which may be a denial itself."""
    former = denied(part)
    return contradicts(text, former or part, corrects) or (former is not None and denies(text, former))


def _is_denied(former: str, part: str) -> bool:
    return denied(part) is None and denies(former, part)


def _denies_too(former: str, part: str) -> bool:
    other = denied(part)
    return other is not None and denies(former, other)


def _names(known: str, text: str) -> bool:
    """Whether "I'm Sarah" is said by somebody whose name is known to be Sarah."""
    name = _I_AM.fullmatch(text)
    return name is not None and same_fact(known, f"My name is {name['name']}")


async def _near(lesson: Lesson, text: str) -> list[Recalled]:
    """Memories that say the same, or something on the same thing in other words."""
    found = {m.id: m for m in await lesson.similar(text, NEIGHBOURS)}
    for slot in slots(text).values():
        for memory in await lesson.similar(slot.words, NEIGHBOURS):
            found.setdefault(memory.id, memory)
    return list(found.values())


async def _amend(lesson: Lesson, changes: Changes, searches: int) -> None:
    """ "It's Max, not Rex" and "Forget that I like tea": done where it is clear which memory is meant."""
    plain_ones = (sentence.replace("\u2019", "'").rstrip(" .!") for sentence in own_sentences(lesson.said))
    matches = (match for plain in plain_ones if (match := _INSTEAD.match(plain) or _FORGET.match(plain)))
    for match in islice(matches, searches):
        if match.re is _INSTEAD:
            old, new = match["old"] or match["older"], match["new"] or match["newer"]
            phrase = re.compile(rf"(?<!\w){re.escape(old.strip())}(?!\w)", re.I)
            named = [m for m in await lesson.similar(old, NEIGHBOURS) if phrase.search(m.content)]
            if len(named) == 1:
                content = phrase.sub(lambda _: new.strip(), named[0].content)  # noqa: B023 - called at once
                changes.append(Learned(content, named[0].id))
        else:
            looked_for = wanted(match["what"])
            meant = [m for m in await lesson.similar(match["what"], NEIGHBOURS) if share(looked_for, m.content) == 1]
            if len(meant) == 1:
                changes.append(Unlearned(meant[0].id))
