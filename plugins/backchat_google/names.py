"""Names: of models, and of tools."""

from __future__ import annotations

import re

from backchat.errors import ProviderRejected
from backchat.upstream.names import ToolNames

_MODEL = re.compile(r"(?:(models|tunedModels)/)?([A-Za-z0-9][\w.-]{0,199})", re.ASCII)
_BEFORE_3 = re.compile(r"gemini-(?:[12]\b|pro$|exp-)")
TOOLS = ToolNames(128, ".:", worded=True)
"""https://ai.google.dev/api/caching#FunctionDeclaration"""


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
