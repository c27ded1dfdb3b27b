"""``backchat check`` and ``backchat plugins``: what would happen, without opening anything."""

from __future__ import annotations

from pathlib import Path

import click

from backchat import __version__
from backchat.app import build_app
from backchat.cli.installation import DATA, Installation
from backchat.cli.tables import show
from backchat.plugins import Plugins


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Check a configuration FILE: print everything that is wrong with it. Opens nothing."""
    build_app(Installation(file, DATA).load())
    click.echo(f"{file}: no problems")


@click.command()
def plugins() -> None:
    """List the installed plugins and what they offer."""
    found = Plugins(from_entry_points=True)
    offers = {name: list[str]() for name in found.versions}
    for offered in found.offers:
        for name, plugin in offered.plugin_of.items():
            offers[plugin].append(f"{offered.what} {name}")
    rows = [[name, found.versions[name], ", ".join(sorted(offers[name]))] for name in sorted(offers)]
    show(("Plugin", "Version", "Offers"), rows)
    click.echo(f"backchat {__version__}")
