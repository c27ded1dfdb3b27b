"""What a fact is about: two facts on the same thing cannot both hold, such as two places where somebody lives."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from backchat.services.memory_words import essence


@dataclass(frozen=True, slots=True)
class Slot:
    """``words`` find memories about the same; ``single``: only one of them can hold even if nobody says "no longer".

    ``value``: what is said of it, such as the place; the whole fact if that cannot be told apart.
    """

    name: str
    words: str
    single: bool = True
    value: str = ""


_SHORT = (
    (re.compile(r"n't\b"), " not"),
    (re.compile(r"'m\b"), " am"),
    (re.compile(r"'ve\b"), " have"),
    (re.compile(r"'re\b"), " are"),
    (re.compile(r"\bca not\b|\bcannot\b|\bcan not\b"), "do not"),
)
_THIRD = re.compile(r"^(?:the )?user(?P<own>'s)? ")
_ADVERBS = re.compile(
    r"\b(?:now|currently|still|also|just|recently|actually|really|always|usually|mostly|no longer|any ?more|do not|"
    r"did not|does not|not|never|very much|a lot|instead|again|back|these days|nowadays|have|has)\b "
)
_WORK = r"(?:work|works|working|worked)"
_JOBS = re.findall(
    r"\w+",
    (
        "engineer developer programmer designer teacher professor nurse doctor physician surgeon dentist lawyer "
        "attorney student manager director scientist researcher writer journalist artist musician architect "
        "accountant chef cook baker consultant analyst pilot driver electrician plumber carpenter farmer "
        "photographer translator librarian pharmacist therapist psychologist veterinarian vet firefighter mechanic "
        "salesperson entrepreneur founder freelancer paramedic barista editor "
    ),
)
_ATTRIBUTES = re.findall(
    r"\w+",
    (
        "name birthday age address email phone number job title role employer company city hometown town country "
        "timezone zone language diet goal budget deadline size salary nickname pronouns nationality religion "
        "profession occupation height weight username team school university major "
    ),
)
_COUNTS = "no|one|two|three|four|five|six|seven|eight|nine|ten|\\d+"

Find = Callable[[re.Match[str]], Slot]


def _fixed(name: str, words: str) -> Find:
    return lambda _: Slot(name, words)


def _object(kind: str) -> Find:
    def find(match: re.Match[str]) -> Slot:
        what = " ".join(essence(match["what"]))
        return Slot(f"{kind}:{what}", what)

    return find


def _mine(match: re.Match[str]) -> Slot:
    thing = (
        match["thing"]
        .replace("'s ", " ")
        .removesuffix("'s")
        .replace("favourite", "favorite")
        .replace("colour", "color")
    )
    if match["how"] and thing.split()[-1] != "name":
        thing += " name"
    names = thing.split()
    single = names[0] == "favorite" or names[-1] in _ATTRIBUTES
    words = re.sub(r"\bfavorite\b", "favorite favourite", thing).replace("color", "color colour")
    if names[-1] == "name":
        words += " called named"
    return Slot(f"my:{' '.join(names)}", words, single)


_PATTERNS: tuple[tuple[re.Pattern[str], Find], ...] = tuple(
    (re.compile(pattern), find)
    for pattern, find in (
        (
            r"^(?:i|we) (?:am |are )?(?:lives?|living|resides?|moved|relocated|based|settled)(?: over| down)? "
            r"(?:in|to|near|at|on|outside)\b",
            _fixed("residence", "live living moved relocated based reside"),
        ),
        (
            rf"^(?:i|we) (?:am )?{_WORK}\b.*?\b(?:at|for) (?!home\b|night|myself)",
            _fixed("employer", "work working employed joined employer"),
        ),
        (r"^(?:i|we) (?:joined|am employed (?:at|by))\b", _fixed("employer", "work working employed joined employer")),
        (r"^my (?:employer|company) is\b", _fixed("employer", "work working employed joined employer company")),
        (
            rf"^(?:i|we) (?:am )?{_WORK}(?: as\b| .+? as an? )",
            _fixed("role", f"work working job profession {' '.join(_JOBS)}"),
        ),
        (
            rf"^i am an? (?:[\w-]+ ){{0,3}}?(?:{'|'.join(_JOBS)})\b",
            _fixed("role", "work working job profession"),
        ),
        (r"^my (?:job|profession|occupation|job title) is\b", _fixed("role", "work working job profession")),
        (
            r"^(?:my (?:full |real )?name is|(?:you can )?calls? me|i go(?:es)? by|i am called)\b",
            _fixed("my:name", "name call called"),
        ),
        (r"^i (?:am|turned) \d{1,3}\b(?: years old)?$|^my age is\b", _fixed("age", "years old age turned")),
        (
            r"^i (?:am|got) (?:happily |newly )?(?:married|single|divorced|engaged|widowed)\b",
            _fixed("marital", "married single divorced engaged widowed"),
        ),
        (
            r"^i (?:am|became|turned|been) (?:an? )?(?:vegan|vegetarian|pescatarian|omnivore|carnivore)\b",
            _fixed("diet", "vegan vegetarian pescatarian omnivore carnivore"),
        ),
        (r"^i was born in\b", _fixed("born", "born")),
        (r"^i was born on\b", _fixed("my:birthday", "born birthday")),
        (r"^(?:i|we) (?:am )?(?:study|studies|studying)\b", _fixed("studies", "study studying")),
        (r"^(?:i|we) drives?\b", _fixed("drives", "drive driving")),
        (rf"^(?:i|we) (?:owns? |got )?(?:{_COUNTS}) (?P<what>[\w-]+?)s?(?= |$)", _object("count")),
        (
            r"^(?:i|we) (?:likes?|loves?|enjoys?|adores?|hates?|dislikes?|despises?|stand|prefers?) (?P<what>.+)$",
            _object("taste"),
        ),
        (r"^(?:i|we) (?P<what>(?:eat|drink|smoke|play|speak|own|use|run|take|need|wear)s? .+)$", _object("does")),
        (
            r"^my (?P<thing>[\w'-]+(?: [\w'-]+){0,5}?)(?:'s| is| are| was| were|'s name is) (?P<how>called |named )?",
            _mine,
        ),
    )
)


def plain(fact: str) -> str:
    """In lower case, in the first person, with whole words: "The user doesn't" is "i does not"."""
    text = " ".join(fact.lower().replace("\u2019", "'").rstrip(" .!").split())
    text = _THIRD.sub(lambda m: "my " if m["own"] else "i ", text)
    for pattern, full in _SHORT:
        text = pattern.sub(full, text)
    return text


def slots(fact: str) -> dict[str, Slot]:
    """What a fact is about, by name. A fact may be about nothing that another one could contradict."""
    text = _ADVERBS.sub("", plain(fact) + " ").strip()
    found = (
        replace(find(match), value=text[match.end() :].strip() or text)
        for pattern, find in _PATTERNS
        if (match := pattern.search(text))
    )
    return {slot.name: slot for slot in found}


def contradicts(new: str, old: str, corrects: bool) -> bool:
    """Whether the new fact takes the place of the old one; ``corrects``: the user said that something was otherwise."""
    mine, others = slots(new), slots(old)
    return any(name in others and (slot.single or corrects) for name, slot in mine.items())
