"""The command line: what users type, and scripts rely on. It sits on top of everything and imports lazily."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """The entry point `spotbed`: run the command in `sys.argv` and exit with its code."""
    if "--no-color" in sys.argv:  # before anything is printed, also by the parser and by child processes
        os.environ["NO_COLOR"] = "1"
    from spotbed.cli.app import app

    app()
