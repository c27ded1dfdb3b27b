"""The configuration of a server in a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from backchat.config import Config, load_config
from backchat.plugins import Plugins

MINIMAL: Mapping[str, Any] = {
    "storage": {"use": "sqlite", "path": {"$data": "backchat.db"}},
    "providers": {"echo": {"use": "echo"}},
    "memory": {"use": "window", "size": 20},
    "auth": [{"use": "session"}, {"use": "apikey"}],
    "dialects": ["chat", "threads", "convos", "workspaces", "vault"],
}


@cache
def installed_plugins() -> Plugins:
    """What is installed, and nothing else. It holds nothing of an app, so all tests may share it."""
    return Plugins(from_entry_points=True)


def loaded(data: Path, config: Mapping[str, Any], plugins: Sequence[object] = ()) -> Config:
    """``config``, whose sections replace those of ``MINIMAL``, by way of a file in the data directory. Reads files."""
    file = data / "config.yml"
    file.write_text(yaml.safe_dump({**MINIMAL, **config}), "utf-8")
    offered = Plugins(plugins, from_entry_points=True) if plugins else installed_plugins()
    return load_config(file, offered, data=data)
