"""Images as text, by a model that sees."""

from __future__ import annotations

from backchat.domain.message import Text
from backchat.domain.usage import Payer
from backchat.ports.providers import ImageData, ModelRequest, PromptMessage
from backchat.services.calls import Calls
from backchat.services.providers import Configured, Providers
from backchat.services.reading import Describe

WISH = "Describe this image so that it can be found and understood without seeing it, then write out all text in it."
LIMIT = 120.0
MOST_ANSWER = 32_000


def describer(providers: Providers, calls: Calls, *, limit: float = LIMIT) -> Describe | None:
    """Asks the first provider configured now, the default one first, that sees and does what it is told; None without.

    ``limit``: seconds that a description may take. One longer than ``MOST_ANSWER`` characters does not end.
    """
    chosen = _able(providers)
    if chosen is None:
        return None

    async def describe(image: ImageData, payer: Payer) -> str:
        """Raises ``InsufficientCredits`` and ``ProviderError``."""
        request = ModelRequest(messages=[PromptMessage("user", (Text(WISH), image))])
        return await calls.text(payer, "description", chosen, request, limit=limit, most=MOST_ANSWER)

    return describe


def _able(providers: Providers) -> Configured | None:
    order = [providers.configured[providers.default], *providers.configured.values()]
    return next((c for c in order if c.provider.abilities.vision and c.provider.abilities.instructions), None)
