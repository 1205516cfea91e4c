"""Notebooks run from top to bottom, call the packages, and define nothing."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import jupytext
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.py"))
each_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_is_a_quick_start_and_the_rest_follow_in_order() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        *["01_quick_start", "02_write_a_policy", "03_fit_a_market", "04_choose_a_policy"]
    ]


@each_notebook
def test_a_notebook_defines_nothing(notebook: Path) -> None:
    tree = ast.parse(notebook.read_text("utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, kinds)] == []


@each_notebook
def test_a_notebook_runs_from_top_to_bottom(
    notebook: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notebooks").mkdir()
    shutil.copytree(root / "scenarios", tmp_path / "scenarios")
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.setenv("PYTHONWARNINGS", "error:::__main__")
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    cells = jupytext.read(notebook)
    resources = {"metadata": {"path": str(tmp_path / "notebooks")}}
    done = NotebookClient(cells, timeout=120, kernel_name="python3", resources=resources).execute()
    code = [cell for cell in done.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    assert [output for cell in code for output in cell.outputs if output.get("name") == "stderr"] == []
    pictures = [output for cell in code for output in cell.outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 1
    assert [entry.name for entry in (tmp_path / "notebooks").iterdir()] == ["reports"]
