"""Names of tools, as services take them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from backchat.errors import ProviderRejected


class ToolNames:
    """The names that a service takes: at most ``longest`` letters, digits, ``_``, ``-`` and whatever is in ``more``;
    with ``worded``, a letter or ``_`` comes first.

    Names are those of any provider's tools, or of calls in an old conversation.
    """

    __slots__ = ("_fit", "_longest", "_other", "_worded")

    def __init__(self, longest: int, more: str = "", *, worded: bool = False) -> None:
        self._longest, self._worded = longest, worded
        self._other = re.compile(rf"[^A-Za-z0-9_{re.escape(more)}-]")
        start = "[A-Za-z_]" if worded else f"[A-Za-z0-9_{re.escape(more)}-]"
        self._fit = re.compile(rf"{start}[A-Za-z0-9_{re.escape(more)}-]{{0,{longest - 1}}}")

    def there(self, name: str) -> str:
        """The name as the service takes it; always the same one for the same name."""
        if self._fit.fullmatch(name):
            return name
        name = self._other.sub("_", name) or "_"
        return (f"_{name}" if self._worded and not re.match("[A-Za-z_]", name) else name)[: self._longest]

    def changed(self, names: Iterable[str]) -> Mapping[str, str]:
        """From what the service will call them to what they are called here; only those that differ.

        Raises ProviderRejected when two of them cannot be told apart there.
        """
        called: dict[str, str] = {}
        for name in names:
            if called.setdefault(self.there(name), name) != name:
                raise ProviderRejected("two tools have names that are the same to the model service")
        return {there: here for there, here in called.items() if there != here}
