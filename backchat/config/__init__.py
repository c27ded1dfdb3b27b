"""YAML to checked, frozen settings. Everything is checked before anything is opened."""

from __future__ import annotations

from backchat.config.load import load_config, load_storage
from backchat.config.opening import opened, opened_provider
from backchat.config.renewing import OpenProviders
from backchat.config.replies import RepliesSettings
from backchat.config.sections import Config, Selected, ServerSettings

__all__ = [
    "Config",
    "OpenProviders",
    "RepliesSettings",
    "Selected",
    "ServerSettings",
    "load_config",
    "load_storage",
    "opened",
    "opened_provider",
]
