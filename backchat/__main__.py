"""``python -m backchat`` is the command ``backchat``."""

from __future__ import annotations

from backchat.cli import main

if __name__ == "__main__":
    main(prog_name="backchat")
