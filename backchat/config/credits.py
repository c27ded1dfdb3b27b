"""The section about what calls of models cost."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, post_load, validate

from backchat.domain.usage import Credits, Price

MOST = Decimal(10) ** 9
PLACES = 15


class Dollars(fields.Field[Decimal]):
    """An amount of US dollars, a number or text: exactly the decimal number that is written."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Decimal:
        try:
            # A float is written as it was read: 0.1 stays 0.1.
            amount = Decimal(str(value)) if isinstance(value, int | float | str) else Decimal("NaN")
        except InvalidOperation:
            amount = Decimal("NaN")
        if isinstance(value, bool) or not amount.is_finite() or amount < 0:
            raise ValidationError("Must be an amount of US dollars such as 0.15, not below 0.")
        exponent = amount.as_tuple().exponent
        if amount > MOST or not isinstance(exponent, int) or exponent < -PLACES:
            raise ValidationError(f"Must be at most {MOST:,} US dollars, with at most {PLACES} decimals.")
        return abs(amount)  # no -0


def _limit(whose: str) -> Dollars:
    return Dollars(
        load_default=None,
        allow_none=True,
        metadata={
            "type": "US dollars",
            "default": "no limit",
            "description": f"What each {whose} may spend; null is without limit.",
        },
    )


def _limits(whose: str, option: str, how: str) -> fields.Dict:
    return fields.Dict(
        keys=fields.String(),
        values=Dollars(allow_none=True),
        load_default=dict,
        metadata={
            "default": "none",
            "description": f"The same for single {whose}s, by {how}: an amount, or null for no limit, instead of "
            f"`{option}`. The log says at the start which there are not.",
        },
    )


class PriceSchema(Schema):
    class Meta:
        unknown = RAISE

    input = Dollars(load_default=Decimal(0), metadata={"description": "A million tokens that go in."})
    output = Dollars(load_default=Decimal(0), metadata={"description": "A million tokens that come out."})
    cached = Dollars(
        load_default=None,
        metadata={"description": "A million tokens that go in and that the service has kept; `input` unless set."},
    )
    cache_write = Dollars(
        load_default=None,
        metadata={"description": "A million tokens that go in and that the service is to keep; `input` unless set."},
    )
    minute = Dollars(load_default=Decimal(0), metadata={"description": "A minute of sound that is transcribed."})

    @post_load
    def freeze(self, data: dict[str, Any], **_: object) -> Price:
        return Price(**data)


class CreditsSchema(Schema):
    class Meta:
        unknown = RAISE

    prices = fields.Dict(
        keys=fields.String(),
        values=fields.Nested(PriceSchema),
        load_default=dict,
        metadata={
            "default": "list prices",
            "description": "What models cost, by `provider/model` or by model, such as `{local/llama3: {input: 0.05, "
            "output: 0.1}}`, in US dollars: `input`, `output`, `cached` and `cache_write` for a million tokens, "
            "`minute` for a minute of sound; what is left out costs nothing, but `cached` and `cache_write` as much as "
            "`input`. A model that is not named has its list price, as far as backchat knows it; one without a price "
            "costs nothing, and the log says so.",
        },
    )
    per_user = _limit("user")
    per_workspace = _limit("workspace")
    users = _limits("user", "per_user", "their ids or names")
    workspaces = _limits("workspace", "per_workspace", "their ids")
    reserve = Dollars(
        load_default=Decimal(0),
        metadata={
            "type": "US dollars",
            "default": "`0`",
            "description": "So much of each limit is kept back: whoever comes that near to it is refused.",
        },
    )
    period = fields.String(
        load_default="total",
        validate=validate.OneOf(["total", "month"]),
        metadata={"description": "What counts against the limits: all that was ever spent, or this calendar month's."},
    )

    @post_load
    def freeze(self, data: dict[str, Any], **_: object) -> Credits:
        return Credits(**data)


CREDITS = CreditsSchema()
