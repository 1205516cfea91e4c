"""What agrees with the models: the schema for editors, the reference, the shipped scenarios, the folders of `init`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from spotbed.errors import InputError
from spotbed.scenario.load import load_scenario, validate
from spotbed.scenario.models_base import DEFAULTS
from spotbed.scenario.reference import reference
from spotbed.scenario.scaffold import scaffold, schema_text, templates
from spotbed.scenario.schema import scenario_schema
from spotbed.scenario.yaml_positions import parse_document, read_document

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "scenarios").rglob("*.yaml"))


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = scenario_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_committed_schema_is_the_models(root: Path) -> None:
    assert (root / "schemas" / "scenario.schema.json").read_text("utf-8") == schema_text(), (
        "the schema is stale: spotbed schema scenario > schemas/scenario.schema.json"
    )


def test_the_schema_speaks_to_editors() -> None:
    schema = scenario_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["workload", "capacity", "policies"]
    named = [(name, key) for name, part in schema["$defs"].items() for key in part.get("properties", {})]
    silent = [
        (name, key)
        for name, key in named
        if key not in {"source", "dist"} and "description" not in schema["$defs"][name]["properties"][key]
    ]
    assert len(named) > 150
    assert silent == []


def test_the_reference_is_made_of_the_models(root: Path) -> None:
    assert (root / "docs" / "scenario.md").read_text("utf-8").endswith("\n" + reference()), (
        "docs/scenario.md is stale: replace its end by the output of python -m spotbed.scenario.reference"
    )


def test_every_link_of_the_reference_leads_somewhere() -> None:
    text = reference()
    links = set(re.findall(r"\(#([\w-]+)\)", text))
    headings = {heading.lower() for heading in re.findall(r"^### (\w+)$", text, re.MULTILINE)}
    assert len(links) > 40
    assert links == headings


def test_the_shortest_useful_scenario_has_at_most_12_lines(root: Path, tmp_path: Path) -> None:
    text = (root / "docs" / "scenario.md").read_text("utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(block.splitlines()) <= 12
    path = tmp_path / "short.yaml"
    path.write_text(block, encoding="utf-8")
    assert validate(path) == []


def test_every_default_says_where_it_comes_from() -> None:
    for key, entry in DEFAULTS.items():
        assert entry["source"], key
        if entry["source"].startswith("assumed"):
            assert entry["range"], key


@pytest.mark.parametrize("name", SHIPPED)
def test_the_schema_accepts_what_is_shipped(validator: Any, root: Path, name: str) -> None:
    assert [error.message for error in validator.iter_errors(read_document(root / name).data)] == []


@pytest.mark.parametrize(
    "text",
    [
        "seed: '7'",
        "sed: 7",
        "horizon: 48",
        "horizon: '1:30'",
        "checkpoint: {write: 45}",
        "capacity: {pools: [{instance_type: c6i.xlarge, purchase: sport}]}",
        "market: {prices: catalog}",
        "market: {interruptions: {source: weibull, up: {shape: 1}}}",
        "market: {launch: {dist: lognormal, median: 60s}}",
        "policies: []",
        "policies: [{use: 5}]",
        "workload: {source: synthetic, jobs: 10, classes: [{name: x}]}",
        "workload: {source: swff, path: x}",
    ],
)
def test_the_schema_refuses_what_the_models_refuse(validator: Any, tmp_path: Path, text: str) -> None:
    sections = {
        "workload": "workload: {source: synthetic, jobs: 10, classes: [{runtime: 1h}]}",
        "capacity": "capacity: {pools: [{instance_type: c6i.xlarge}]}",
        "policies": "policies: [spot-only]",
    }
    sound = "\n".join(sections.values())
    assert list(validator.iter_errors(parse_document(sound, "x").data)) == []
    sections[text.partition(":")[0]] = text
    whole = "\n".join(sections.values())
    assert list(validator.iter_errors(parse_document(whole, "x").data))
    path = tmp_path / "x.yaml"
    path.write_text(whole, encoding="utf-8")
    assert validate(path)


@pytest.mark.parametrize("name", [name for name in SHIPPED if "/archive/" not in name and "/real/" not in name])
def test_shipped_scenarios_are_valid(root: Path, name: str) -> None:
    scenario = load_scenario(root / name)
    assert (scenario.warnings, scenario.name) == ((), Path(name).stem)


@pytest.mark.parametrize("name", [name for name in SHIPPED if "/archive/" in name or "/real/" in name])
def test_shipped_scenarios_on_public_data_are_valid(root: Path, spotbed_data: Path, name: str) -> None:
    assert spotbed_data.is_dir()
    scenario = load_scenario(root / name)
    assert (scenario.warnings, scenario.name) == ((), Path(name).stem)


def test_what_is_shipped() -> None:
    assert {f"scenarios/faults/f{number}.yaml" for number in range(1, 7)} <= set(SHIPPED)
    others = ["demo", "eda-regression", "central-limits", "scale-200k-cores", "tenants-1x10-10x1"]
    others += ["archive/kth-easy", "real/kth-on-p3", "real/prices-2021"]
    assert {f"scenarios/{name}.yaml" for name in others} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_scenarios_point_editors_to_the_schema(root: Path, name: str) -> None:
    path = root / name
    first = path.read_text("utf-8").splitlines()[0]
    found = re.fullmatch(r"# yaml-language-server: \$schema=(.*)", first)
    assert found is not None
    assert (path.parent / found[1]).resolve() == root / "schemas" / "scenario.schema.json"


@pytest.mark.parametrize("number", range(1, 7))
def test_faults_compare_the_original_with_ours(root: Path, number: int) -> None:
    scenario = load_scenario(root / "scenarios" / "faults" / f"f{number}.yaml")
    assert [policy.label for policy in scenario.policies] == ["legacy-2019", "decoupled"]
    assert scenario.baseline == "legacy-2019"
    assert {label for gate in scenario.gates for label in gate.for_} == {"decoupled"}
    head = (root / "scenarios" / "faults" / f"f{number}.yaml").read_text("utf-8")
    assert f"# F{number}: " in head
    assert "# Look for: " in head


@pytest.mark.parametrize("template", templates())
def test_a_folder_to_start_from(tmp_path: Path, template: str) -> None:
    folder = tmp_path / "new"
    written = scaffold(folder, template)
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == sorted(written)
    assert {"scenario.yaml", "my_policy.py", "scenario.schema.json", "first_look.py"} <= {path.name for path in written}
    assert validate(folder / "scenario.yaml") == []
    assert json.loads((folder / "scenario.schema.json").read_text("utf-8")) == scenario_schema()
    compile((folder / "notebooks" / "first_look.py").read_text("utf-8"), "first_look.py", "exec")


def test_the_default_template_is_short(tmp_path: Path) -> None:
    scaffold(tmp_path)
    assert len((tmp_path / "scenario.yaml").read_text("utf-8").splitlines()) <= 12


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "scenario.yaml").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"has scenario.yaml already"):
        scaffold(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["scenario.yaml"]
    with pytest.raises(InputError, match="is a file, not a folder"):
        scaffold(tmp_path / "scenario.yaml")


def test_an_unknown_template_is_told_with_all_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no template 'logg'\. Did you mean 'log'\?"):
        scaffold(tmp_path / "new", "logg")
    assert not (tmp_path / "new").exists()
