"""Is everything here that spotbed needs?"""

from __future__ import annotations

import typer

from spotbed.cli.command import command
from spotbed.cli.failures import FAILURE, OK
from spotbed.cli.tables import Table, to_records
from spotbed.cli.terminal import Terminal

app = typer.Typer()


@command(app)
def doctor(terminal: Terminal) -> int:
    """Look at this machine: Python, packages, data, browser, disk, credentials, the age of the prices."""
    from spotbed.doctor import examine

    findings = examine()
    passed = not any(finding.level == "error" for finding in findings)
    table = Table(["level", "what", "found", "hint"], [[f.level, f.what, f.found, f.hint] for f in findings])
    terminal.result(table, {"passed": passed, "findings": to_records(table)})
    return OK if passed else FAILURE
