"""docs/README.md is the index of docs: it lists every page, and every link of it leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def test_the_index_lists_every_page_and_every_notebook(root: Path) -> None:
    linked = {
        (root / "docs" / target).resolve() for target in LINK.findall((root / "docs" / "README.md").read_text("utf-8"))
    }
    pages = {path for path in (root / "docs").glob("*.md") if path.name != "README.md"}
    notebooks = set((root / "notebooks").glob("*.py"))
    assert pages | notebooks <= linked
    assert all(target.exists() for target in linked)
