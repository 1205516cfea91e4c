"""The house's own rules for templates (aws/rules, in the language of CloudFormation Guard): `python tests/guard.py`
asks them of every variant of both stacks, and says how many there were."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from aws_stacks import KINDS, rendered
from guardpycfn import validate_with_guard

from aws.render import FOLDER, Template

RULES = sorted((FOLDER / "rules").glob("*.guard"))


def names(path: Path) -> list[str]:
    """The rules of a file."""
    return re.findall(r"^rule (\w+)", path.read_text("utf-8"), re.MULTILINE)


def broken(template: Template, path: Path) -> set[str]:
    """The rules of a file that a template breaks."""
    found = validate_with_guard(json.dumps(template), path.read_text("utf-8"))["result"]
    if isinstance(found, str):  # the binding cuts the beginning of a long report: what holds stands at its end
        held = found[found.rindex('"not_applicable"') :]
        return {name for name in names(path) if f'"{name}"' not in held}
    return {each["Rule"]["name"] for each in found["not_compliant"]}


def main() -> int:
    failures = [(kind, rule) for kind in KINDS for path in RULES for rule in sorted(broken(rendered(kind), path))]
    for kind, rule in failures:
        sys.stdout.write(f"{kind}: breaks {rule}\n")
    count = sum(len(names(path)) for path in RULES)
    sys.stdout.write(f"guard: {count} rules, {len(KINDS)} variants, {len(failures)} broken\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
