"""The provider ``anthropic``: Anthropic's messages API.

Other servers speak it too; ``base_url`` says where.
"""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.ports.component import Component
from backchat.ports.providers import ProviderBackend
from backchat_anthropic.provider import open_anthropic
from backchat_anthropic.settings import SettingsSchema


@hookimpl
def backchat_providers() -> Sequence[ProviderBackend]:
    return [Component("anthropic", SettingsSchema(), open_anthropic)]
