"""What OpenRouter has beyond OpenAI's protocol: who serves a model, and what is tried when it fails.

https://openrouter.ai/docs/guides/routing/provider-selection, .../model-fallbacks and .../auto-model-selection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import INCLUDE, RAISE, Schema, ValidationError, fields, post_load, validate

from backchat.errors import ProviderRejected
from backchat_openai.settings import OPENROUTER, Settings, SettingsSchema

AUTO = "openrouter/auto"
_ROUTER = "auto-router"
_OWN = frozenset({"provider", "models", "plugins"})
_SORTS = ("price", "throughput", "latency")


def _names(**options: Any) -> fields.List[str]:
    return fields.List(fields.String(validate=validate.Length(1, 200)), validate=validate.Length(1, 100), **options)


def _prices(**options: Any) -> fields.Dict:
    return fields.Dict(
        keys=fields.String(validate=validate.OneOf(["prompt", "completion", "request", "image", "audio"])),
        values=fields.Float(validate=validate.Range(min=0)),
        validate=validate.Length(min=1),
        **options,
    )


class RoutingSchema(Schema):
    """OpenRouter's ``provider`` object, under its own names."""

    class Meta:
        unknown = RAISE

    order = _names(metadata={"description": "Who is tried, in this order."})
    only = _names(metadata={"description": "Nobody else is."})  # type: ignore[assignment]  # OpenRouter's name for it
    ignore = _names(metadata={"description": "Who never is."})
    allow_fallbacks = fields.Boolean(metadata={"description": "Whether others are tried when these fail."})
    sort = fields.String(validate=validate.OneOf(_SORTS), metadata={"description": "Who comes first, without `order`."})
    max_price = _prices(
        metadata={"description": "Dollars per million tokens, `prompt` and `completion`, or per `request` or `image`."}
    )
    require_parameters = fields.Boolean(metadata={"description": "Only who knows all fields of the request."})
    data_collection = fields.String(
        validate=validate.OneOf(["allow", "deny"]),
        metadata={"description": "Whether prompts may be kept or learned from."},
    )
    zdr = fields.Boolean(metadata={"description": "Only who keeps nothing at all."})
    enforce_distillable_text = fields.Boolean(
        metadata={"description": "Only models whose answers others may be trained with."}
    )
    quantizations = _names(metadata={"description": "Only these, such as `fp8`."})
    preferred_min_throughput = fields.Float(
        validate=validate.Range(min=0), metadata={"description": "Tokens a second that are preferred."}
    )
    preferred_max_latency = fields.Float(
        validate=validate.Range(min=0), metadata={"description": "Seconds to the first token that are preferred."}
    )


class WishSchema(Schema):
    """What a message may say under ``openrouter``. The last three are for the model ``openrouter/auto``."""

    class Meta:
        unknown = RAISE

    providers = _names()
    allow_fallbacks = fields.Boolean(truthy={True}, falsy={False})
    sort = fields.String(validate=validate.OneOf(_SORTS))
    ignore = _names()
    max_price = _prices()
    allowed_models = _names()
    excluded_models = _names()
    cost_tier = fields.String(validate=validate.Regexp(r"[a-z_-]{1,20}\Z"))


_AUTO_ONLY = frozenset({"allowed_models", "excluded_models", "cost_tier"})
_WISHES = WishSchema()


def routed(wishes: object, model: str, settings: Settings) -> dict[str, Any]:
    """The fields ``provider``, ``models`` and ``plugins`` of a body, as far as there is something to say in them.

    What is configured comes over what a message wishes. The fallbacks in ``models`` are those of the configured model.
    Raises ProviderRejected, with the field, for wishes that are none.
    """
    wished = _checked(wishes, model) if wishes is not None else {}
    picked = {name: wished.pop(name) for name in _AUTO_ONLY & wished.keys()}
    if "providers" in wished:
        wished["order"] = wished.pop("providers")
    plugins = [dict(plugin) for plugin in settings.plugins]
    if picked:
        router = next((p for p in plugins if p["id"] == _ROUTER), None)
        if router is None:
            plugins.append({"id": _ROUTER, **picked})
        else:
            router.update(picked | router)
    said = {
        "provider": wished | dict(settings.routing),
        "models": list(settings.models) if model == settings.model else [],
        "plugins": plugins,
    }
    return {name: value for name, value in said.items() if value}


def _checked(wishes: object, model: str) -> dict[str, Any]:
    if not isinstance(wishes, Mapping):
        raise ProviderRejected("openrouter must be an object", field="openrouter")
    try:
        wished: dict[str, Any] = _WISHES.load({name: value for name, value in wishes.items() if value is not None})
    except ValidationError as error:
        name = next((name for name in _WISHES.fields if name in error.messages_dict), None)
        if name is None:
            raise ProviderRejected("openrouter has a field that is not known", field="openrouter") from None
        raise ProviderRejected(f"openrouter.{name} is not what OpenRouter takes", field=f"openrouter.{name}") from None
    if model != AUTO and (auto := sorted(_AUTO_ONLY & wished.keys())):
        raise ProviderRejected(f"openrouter.{auto[0]} is for the model {AUTO} only", field=f"openrouter.{auto[0]}")
    return wished


def _no_routing(value: Mapping[str, Any]) -> None:
    if taken := _OWN & value.keys():
        raise ValidationError(f"Must not set {', '.join(sorted(taken))}: there are options for that.")


class PluginSchema(Schema):
    """A plugin's ``id``, and whatever it takes."""

    class Meta:
        unknown = INCLUDE

    id = fields.String(required=True, validate=validate.Length(min=1), metadata={"description": "Its name."})


class OpenRouterSchema(SettingsSchema):
    routing = fields.Nested(
        RoutingSchema,
        load_default=dict,
        metadata={
            "description": "Who may serve the model, and who first, as in OpenRouter's `provider` object: `order`, "
            "`only`, `ignore`, `allow_fallbacks`, `sort`, `max_price`, `require_parameters`, `data_collection`, `zdr`, "
            "`enforce_distillable_text`, `quantizations`, `preferred_min_throughput`, `preferred_max_latency`. What is "
            "set here comes over what a message asks for."
        },
    )
    models = _names(
        load_default=list,
        metadata={"description": "Models that OpenRouter tries when `model` fails, in this order."},
    )
    plugins = fields.List(
        fields.Nested(PluginSchema),
        load_default=list,
        metadata={"description": "OpenRouter's plugins, such as `{id: context-compression}`, each with its options."},
    )

    def __init__(self) -> None:
        super().__init__(OPENROUTER)
        self.fields["extra_body"].validators.append(_no_routing)

    @post_load
    def freeze(self, data: dict[str, Any], **_: object) -> Settings:
        settings: Settings = super().freeze(data)
        return settings
