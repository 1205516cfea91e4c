"""Where a command's words go: the result to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from spotbed.cli.tables import Format, Tabular, to_csv, to_json, to_markdown, to_records, to_text

SCHEMA_VERSION = 1  # of every JSON document that the command line itself makes


@dataclass(frozen=True, slots=True)
class Terminal:
    """How this command prints."""

    format: Format = Format.table
    color: bool = True  # wanted; whether it is used depends on the stream
    quiet: bool = False
    debug: bool = False

    def result(
        self, table: Tabular, document: Mapping[str, Any] | None = None, *, data: Callable[[], Tabular] | None = None
    ) -> None:
        """Print the result in the format that was asked for.

        `document` is what JSON says, if more than the rows; `data` makes what CSV says, if `table` is made for people.
        """
        if self.format is Format.json:
            self.document(document if document is not None else {"rows": to_records(table)})
        elif self.format is Format.csv:
            self.text(to_csv(data() if data is not None else table))
        elif self.format is Format.markdown:
            self.text(to_markdown(table))
        else:
            width = _columns() if sys.stdout.isatty() else None
            self.text(to_text(table, width=width, color=self._colors(sys.stdout)))

    def document(self, document: Mapping[str, Any]) -> None:
        """Print a result that is JSON by nature, with its `schema_version`."""
        versioned = document if "schema_version" in document else {"schema_version": SCHEMA_VERSION, **document}
        self.text(to_json(versioned))

    def text(self, text: str) -> None:
        """Print a result as it is."""
        sys.stdout.write(text if text.endswith("\n") else text + "\n")

    def note(self, text: str) -> None:
        """Say something by the way, unless --quiet was given."""
        if not self.quiet:
            self.alert(text)

    def alert(self, text: str) -> None:
        """Say something that must be heard."""
        sys.stdout.flush()
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def _colors(self, stream: Any) -> bool:
        return self.color and not os.environ.get("NO_COLOR") and bool(stream.isatty())


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns
