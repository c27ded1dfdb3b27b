"""Names: of models, and of tools."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from backchat.errors import ProviderRejected

_MODEL = re.compile(r"(?:(models|tunedModels)/)?([A-Za-z0-9][\w.-]{0,199})", re.ASCII)
_BEFORE_3 = re.compile(r"gemini-(?:[12]\b|pro$|exp-)")
_TOOL = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")


def resource(model: str) -> str:
    """``gemini-x`` and ``models/gemini-x`` as ``models/gemini-x``. Raises ProviderRejected for what is no name.

    It becomes a part of the address, and users choose it.
    """
    found = _MODEL.fullmatch(model)
    if found is None:
        raise ProviderRejected("the model service has no model of that name: it holds characters that no name has")
    return f"{found[1] or 'models'}/{found[2]}"


def before_3(model: str) -> bool:
    """Whether it is a Gemini before the third generation, which has other rules; a name without a number is a later
    one, as the service moves those on.
    """
    return _BEFORE_3.match(model.rpartition("/")[2]) is not None


def tool_name(name: str) -> str:
    """The name as the service takes it: https://ai.google.dev/api/caching#FunctionDeclaration

    Names are those of any provider's tools, or of calls in an old conversation.
    """
    if _TOOL.fullmatch(name):
        return name
    name = re.sub(r"[^A-Za-z0-9_.:-]", "_", name)
    return (name if re.match(r"[A-Za-z_]", name) else f"_{name}")[:128]


def tool_names(names: Iterable[str]) -> Mapping[str, str]:
    """From what the service will call them to what they are called here; only those that differ.

    Raises ProviderRejected when two of them cannot be told apart there.
    """
    called: dict[str, str] = {}
    for name in names:
        if called.setdefault(tool_name(name), name) != name:
            raise ProviderRejected("two tools have names that are the same to the model service")
    return {there: here for there, here in called.items() if there != here}
