"""What no longer holds: "I no longer live in Berlin" denies what says Berlin, and nothing that says Paris."""

from __future__ import annotations

import re

from backchat.services.memory_words import normal, stem
from backchat_recall.slots import plain, slots

_SINCE = re.compile(
    r",?\s+(?:any ?more|any longer|at all|now|nowadays|these days|again|(?:since|because|after|as of|due to)\b.*|"
    r"(?:last|this) (?:week|month|year|spring|summer|autumn|fall|winter)|in (?:19|20)\d\d|\w+ (?:years?|months?) ago)$"
)
_STOPPED = re.compile(r"(?P<who>i|we) (?:have )?(?:just |recently |finally )?(?:stopped|quit) (?P<verb>\w+ing)\b")
_JOB = re.compile(r"(?P<who>i|we) (?:have )?(?:just |recently |finally )?quit (?:my|our|the) job (?:at|with|for)\b")
_NOT = re.compile(
    r"(?P<head>(?:i|we)\b(?: (?:am|are|have|just|really|now|currently))*|(?:my|our) (?:[\w'-]+ ){1,6}?)"
    r"\s?\b(?P<no>no longer|(?:do|does) not|can not|not|never) (?!only |just )"
)
_SPOKEN_E = frozenset(
    re.findall(
        r"\w+",
        "ador bak commut cycl danc driv hat hik lik liv lov mak practic practis rid serv skat smok tak us writ",
    )
)
_EMPTY = frozenset(
    re.findall(r"\w+", "a an the my our i we am are is in to at on for of as with and near outside very really got")
)
# "York" is not what "New York" names.
_QUALIFIES = frozenset(
    re.findall(r"\w+", "new north south east west upper lower great saint st san santa los las la el port fort")
)
_STATES = frozenset(stem(verb) for verb in ("am", "are", "is", "have", "live"))
_ADVERBS = frozenset(re.findall(r"\w+", "just really now currently also still always usually mostly"))
_HABITS = ("taste:", "does:")


def denied(fact: str) -> str | None:
    """What a fact says does not hold, as a plain statement in lower case; None if it denies nothing."""
    text = plain(fact)
    while (shorter := _SINCE.sub("", text)) != text:
        text = shorter
    if match := _STOPPED.match(text):
        return f"{match['who']} {_spoken(match['verb'])}{text[match.end() :]}"
    if match := _JOB.match(text):
        return f"{match['who']} work at{text[match.end() :]}"
    if match := _NOT.match(text):
        return f"{match['head'].strip()} {text[match.end() :]}"
    return None


def denies(statement: str, fact: str) -> bool:
    """Whether ``fact`` says what ``statement``, which somebody denied, says: of the same thing, the same value."""
    theirs = slots(fact)
    for name, slot in slots(statement).items():
        other = theirs.get(name)
        if other and (name.startswith(_HABITS) or _one_in_other(slot.value, other.value, fact)):
            return True
    (who, verb, what), (their_who, their_verb, their_what) = _parts(statement), _parts(fact)
    if (who, verb) != (their_who, their_verb):
        return False
    return _within(what, their_what) if what else verb not in _STATES


def rivals(statement: str, fact: str) -> bool:
    """Whether the fact implies that ``statement`` does not hold: who lives in Paris does not live in Berlin."""
    theirs = slots(fact)
    return any(slot.single and name in theirs for name, slot in slots(statement).items())


def is_habit(statement: str) -> bool:
    """Whether its denial is worth knowing: "I don't like coffee any more" is, "I no longer live here" is not."""
    about = slots(statement)
    return any(name.startswith(_HABITS) for name in about) or not (about or _parts(statement)[1] in _STATES | {""})


def _spoken(verb: str) -> str:
    """ "smoking" as "smoke", "running" as "run"."""
    root = verb.removesuffix("ing")
    if len(root) > 2 and root[-1] == root[-2] and root[-1] not in "lsz":
        return root[:-1]
    return root + "e" if root in _SPOKEN_E else root


def _one_in_other(value: str, other: str, fact: str) -> bool:
    named = _words(value)
    return _within(named, _words(plain(fact))) or _within(_words(other), named)


def _parts(text: str) -> tuple[str, str, list[str]]:
    """Who ("i" or "my"), the verb's stem (none of what is theirs), and the other words."""
    said = [w for w in normal(plain(text)).split() if w not in _ADVERBS]
    if not said or said[0] in ("my", "our"):
        return "my", "", _words(" ".join(said))
    if said[1:3] == ["have", "got"]:
        del said[2]
    return "i", stem(said[1]) if len(said) > 1 else "", _words(" ".join(said[2:]))


def _words(text: str) -> list[str]:
    return [stem(w) for w in normal(text).split() if w not in _EMPTY]


def _within(few: list[str], many: list[str]) -> bool:
    """Whether they are in there side by side, not as the end of a longer name."""
    return bool(few) and any(
        many[n : n + len(few)] == few and not (n and many[n - 1] in _QUALIFIES and few[0] not in _QUALIFIES)
        for n in range(len(many) - len(few) + 1)
    )
