"""Images as text, by a model that sees."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from backchat.domain.message import Text
from backchat.domain.run import TextDelta
from backchat.errors import ProviderError, ProviderTimeout
from backchat.ports.providers import ImageData, ModelRequest, PromptMessage
from backchat.services.providers import Configured, Providers

WISH = "Describe this image so that it can be found and understood without seeing it, then write out all text in it."
LIMIT = 120.0
MOST_ANSWER = 32_000

Describe = Callable[[ImageData], Awaitable[str]]


def describer(providers: Providers, *, limit: float = LIMIT) -> Describe | None:
    """Asks the first configured provider, the default one first, that sees and does what it is told; None without.

    ``limit``: seconds that a description may take. One longer than ``MOST_ANSWER`` characters does not end.
    """
    order = [providers.configured[providers.default], *providers.configured.values()]
    able = [c for c in order if c.provider.abilities.vision and c.provider.abilities.instructions]
    if not able:
        return None
    chosen: Configured = able[0]

    async def describe(image: ImageData) -> str:
        """Raises ``ProviderError``."""
        request = ModelRequest(messages=[PromptMessage("user", (Text(WISH), image))])
        said, length = [], 0
        try:
            async with asyncio.timeout(limit), aclosing(chosen.provider.stream(request)) as events:
                async for event in events:
                    if isinstance(event, TextDelta):
                        said.append(event.text)
                        length += len(event.text)
                        if length > MOST_ANSWER:
                            raise ProviderError("the model's description of the image did not end")
        except TimeoutError:
            raise ProviderTimeout("the model took too long to describe the image") from None
        return "".join(said)

    return describe
