"""API keys and recovery keys as text: ``bsk_<id>_<secret>`` and ``bsr_<id>_<secret>``."""

from __future__ import annotations

import re
import secrets
import string
from dataclasses import dataclass, field
from typing import Literal

Use = Literal["token", "recovery"]

PREFIXES: dict[str, Use] = {"bsk": "token", "bsr": "recovery"}
ID_MAX = 64
SECRET_MIN, SECRET_MAX = 43, 512
"""Characters; 43 of 62 different ones are more than 256 bits."""
_FORM = re.compile(rf"(bsk|bsr)_([A-Za-z0-9-]{{1,{ID_MAX}}})_([A-Za-z0-9_-]{{{SECRET_MIN},{SECRET_MAX}}})")
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Secret:
    """A token or a recovery key, in its parts. ``secret`` is text, and stays text: it is never decoded."""

    use: Use
    id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """As it is shown to its owner, once."""
        prefix = next(p for p, use in PREFIXES.items() if use == self.use)
        return f"{prefix}_{self.id}_{self.secret}"


def parse(text: str) -> Secret | None:
    """The parts; None for whatever is neither a token nor a recovery key. The id ends at the first underscore."""
    found = _FORM.fullmatch(text)
    return Secret(PREFIXES[found[1]], found[2], found[3]) if found is not None else None


def new_secret(use: Use, id: str) -> Secret:
    """One that nobody else has: 256 random bits and some more. ``id`` is 1-64 letters, digits and ``-``."""
    return Secret(use, id, "".join([secrets.choice(_ALPHABET) for _ in range(SECRET_MIN)]))
