"""What calls of models cost, and who pays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Context, Decimal, Inexact, InvalidOperation
from functools import reduce
from typing import Literal

from backchat.domain.message import Usage

Purpose = Literal["reply", "title", "memory", "summary", "description", "translation", "transcription"]

_EXACT = Context(prec=400, traps=[Inexact, InvalidOperation])
"""Money is added and multiplied without rounding; what has more digits than this is an error."""
_SOUND, _SOUND_PLACE = Context(prec=400), Decimal("1e-12")
"""What sound costs is rounded to so many US dollars: a second of it is no decimal part of a minute."""


def total(amounts: Iterable[Decimal]) -> Decimal:
    """The exact sum."""
    return reduce(_EXACT.add, amounts, Decimal(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Payer:
    """Whom a call is booked on: who asked for it, the workspace, and where it belongs to if anywhere."""

    user: str
    workspace: str
    conversation: str | None = None
    run: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRecord:
    """One call of a model. Never changed but for ``counted``: whether the running totals have it.

    input_price, output_price  US dollars for a million tokens, as they were then; None if the price was not known,
                which counts as 0.  ``seconds`` of sound, for transcriptions
    cost        in US dollars
    estimated   the provider did not say how much it was: the call was cut off, or the provider never says. The tokens
                are those that were produced, by their length
    """

    id: str
    at: datetime
    payer: Payer
    purpose: Purpose
    provider: str
    model: str
    usage: Usage
    cost: Decimal
    input_price: Decimal | None = None
    output_price: Decimal | None = None
    seconds: float | None = None
    estimated: bool = False
    counted: bool = False
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars for a million tokens, and for a minute of sound."""

    input: Decimal = Decimal(0)
    output: Decimal = Decimal(0)
    cached: Decimal | None = None
    cache_write: Decimal | None = None
    minute: Decimal = Decimal(0)

    def cost(self, usage: Usage, seconds: float | None = None) -> Decimal:
        """US dollars, exact. Tokens out of a cache, or into one, cost as much as the others that went in unless they
        have a price.

        Sound that was counted in tokens which have a price is not paid for by its length as well.
        """
        cached = min(usage.cached_tokens, usage.input_tokens)
        written = min(usage.cache_write_tokens, usage.input_tokens - cached)
        tokens = total(
            [
                _EXACT.multiply(self.input, Decimal(usage.input_tokens - cached - written)),
                _EXACT.multiply(self.input if self.cached is None else self.cached, Decimal(cached)),
                _EXACT.multiply(self.input if self.cache_write is None else self.cache_write, Decimal(written)),
                _EXACT.multiply(self.output, Decimal(usage.output_tokens)),
            ]
        )
        sound = Decimal(0)
        if seconds is not None and not tokens:
            minutes = _SOUND.divide(Decimal(str(seconds)), Decimal(60))
            sound = _SOUND.quantize(_SOUND.multiply(self.minute, minutes), _SOUND_PLACE)
        return total([_EXACT.scaleb(tokens, -6), sound])


@dataclass(frozen=True, slots=True, kw_only=True)
class Credits:
    """What may be spent, in US dollars; None is without limit.

    prices     by ``provider/model`` or by model, before the packaged table
    per_user, per_workspace  the limit of each;  ``users`` and ``workspaces`` have those of single ones by id
    reserve    so much of each limit is kept back
    period     what counts: everything, or the calendar month (UTC)
    """

    prices: Mapping[str, Price] = field(default_factory=dict)
    per_user: Decimal | None = None
    per_workspace: Decimal | None = None
    users: Mapping[str, Decimal | None] = field(default_factory=dict)
    workspaces: Mapping[str, Decimal | None] = field(default_factory=dict)
    reserve: Decimal = Decimal(0)
    period: Literal["total", "month"] = "total"
