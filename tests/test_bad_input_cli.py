"""Bad input through the command line: the place, the value and a hint are told, the exit code is 2, nothing is left."""

from __future__ import annotations

import errno
import gzip
import os
import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from spotbed.cli.app import app
from spotbed.work import textfile

SCENARIO = """\
workload:
  source: synthetic
  jobs: 5
  arrivals: {dist: poisson, rate: 60/h}
  classes: [{runtime: 20m, vcpus: 4, memory: 8 GiB, deadline: 6h}]
capacity:
  pools:
    - {id: spot, instance_type: c6i.xlarge, az: us-east-1a, max: 20}
    - {id: od, instance_type: c6i.xlarge, purchase: on-demand, max: 20}
market: {interruptions: none}
policies: [on-demand-only, spot-only]
replications: 2
"""
MARKET = "interruptions: none"
LOG = """\
workload: {source: swf, path: log.swf}
capacity: {cluster: {slots: 4}}
policies: [central]
"""
TABLE = """\
workload: {source: csv, path: jobs.csv}
capacity: {pools: [{instance_type: c6i.large, max: 4}]}
policies: [decoupled]
"""
SWF_JOB = "{} {} -1 100 {} -1 -1 1 200 -1 1 1 1 1 1 1 -1 -1"
TRACE = '{"metadata": {"gap_seconds": 195}, "data": [0, 1]}'
PRICES = "InstanceType,AvailabilityZone,ProductDescription,Timestamp,SpotPrice\n"
PLACE = "from scheduler.policies.place import LowestPrice\n"
BOMB = "l0: &l0 [x, x, x]\n" + "\n".join(f"l{k}: &l{k} [{', '.join([f'*l{k - 1}'] * 9)}]" for k in range(1, 20))

Files = Mapping[str, str | bytes]


@dataclass(frozen=True)
class Case:
    """What is wrong; a line of what is told begins with `place`, whose end in > is the text above its caret, and holds
    all of `says`."""

    what: str
    place: str
    says: tuple[str, ...]
    files: Files = field(default_factory=dict)
    scenario: str | bytes = SCENARIO


def scenario(old: str, new: str, text: str = SCENARIO) -> str:
    assert old in text, old
    return text.replace(old, new, 1)


def swf(*lines: str) -> Files:
    return {"log.swf": "\n".join(["; MaxProcs: 4", *lines, ""])}


def jobs(*rows: str) -> Files:
    return {"jobs.csv": "\n".join([*rows, ""])}


def traced(what: str, content: str, place: str, *says: str) -> Case:
    text = scenario(MARKET, "interruptions: {source: trace, path: t.json}")
    return Case(f"a trace with {what}", place, says, {"t.json": content}, text)


def priced(what: str, rows: tuple[str, ...], place: str, *says: str) -> Case:
    text = scenario(MARKET, "prices: {source: trace, path: p.csv}")
    lines = [row if "," in row else f"c6i.xlarge,us-east-1a,Linux/UNIX,{row}T00:00:00Z,0.07" for row in rows]
    return Case(f"a price history {what}", place, says, {"p.csv": PRICES + "\n".join([*lines, ""])}, text)


def user(what: str, source: str | bytes, place: str, *says: str, use: str = "mine.py:Mine", more: str = "") -> Case:
    text = scenario("spot-only", f"{{use: {use}, label: mine{more}}}")
    return Case(f"a policy file with {what}", place, says, {"mine.py": source}, text)


def entry(what: str, written: str, place: str, *says: str) -> Case:
    return Case(what, place, says, scenario=scenario("spot-only", written))


def accounting(source: str, what: str, name: str, content: str | bytes, place: str, *says: str) -> Case:
    text = scenario("source: csv, path: jobs.csv", f"source: {source}, path: {name}", TABLE)
    return Case(f"{source} accounting with {what}", place, says, {name: content}, text)


CASES = [
    # the scenario itself
    Case("an unknown key", "s.yaml:5: >vcpu", ("unknown key.", "'vcpus'?"), scenario=scenario("vcpus", "vcpu")),
    Case("a missing unit", "s.yaml:5: >20", ("without a unit", "20s, 20m or 20h"), scenario=scenario("20m", "20")),
    Case("a negative number", "s.yaml:3: >-5", ("at least 1, not -5",), scenario=scenario("jobs: 5", "jobs: -5")),
    Case("zero", "s.yaml:12: >0", ("at least 1, not 0",), scenario=scenario("replications: 2", "replications: 0")),
    Case(
        "pools without room",
        "s.yaml:5:",
        ("fits no pool", "Every pool has max: 0."),
        scenario=SCENARIO.replace("max: 20", "max: 0"),
    ),
    Case("an unknown type", "s.yaml:8: >c6i.huge", ("'c6i.huge'",), scenario=scenario("c6i.xlarge", "c6i.huge")),
    Case("an unknown zone", "s.yaml:8: >us-east-1q", ("'us-east-1q'",), scenario=scenario("us-east-1a", "us-east-1q")),
    Case(
        "an unknown policy",
        "s.yaml:11: >spot-onyl",
        ("'spot-onyl'", "'spot-only'?"),
        scenario=scenario("only, spot-only", "only, spot-onyl"),
    ),
    Case("a YAML bomb", "s.yaml:", ("aliases unfold", "Write the values out."), scenario=BOMB),
    Case("binary", "s.yaml:1:1:", ("not UTF-8 text: byte 0xff.", "Save it as UTF-8."), scenario=b"\xff\xfe\x00\x01"),
    Case("no mapping", "s.yaml:1:1:", ("must be a mapping, not a list.", "spotbed init"), scenario="[1, 2]\n"),
    Case("nothing", "s.yaml:1:1:", ("the file is empty.", "spotbed init"), scenario=""),
    # policies of the scenario: parameters and points
    entry(
        "a parameter that is not known",
        "{use: spot-only, with: {avod: 5m}}",
        "s.yaml:11: >avod",
        "policies.1.with.avod: ",
        "'avoid'?",
    ),
    entry(
        "a parameter of another kind",
        "{use: spot-only, with: {avoid: 5}}",
        "s.yaml:11: >5",
        "policies.1.with.avoid: ",
        "5m",
    ),
    entry(
        "a parameter out of bounds",
        "{use: spot-diversified, with: {max_share_per_pool: 0}}",
        "s.yaml:11: >0",
        "above 0 and at most 1, not 0.",
    ),
    entry(
        "a word that is not known", "{use: spot-only, with: {purchase: sopt}}", "s.yaml:11: >sopt", "'sopt'", "'spot'?"
    ),
    entry(
        "a parameter of a part",
        "{label: m, scale: {use: drain-time, with: {trget: 1h}}}",
        "s.yaml:11: >trget",
        "policies.1.scale.with.trget: ",
        "'target'?",
    ),
    entry(
        "a part that is not known", "{label: m, order: eft}", "s.yaml:11: >eft", "policies.1.order: ", "'eft'", "'edf'?"
    ),
    entry(
        "a parameter of a replaced point",
        "{use: spot-diversified, place: fallback, with: {on_demand_floor: 0.5}}",
        "s.yaml:11: >on_demand_floor",
        "policies.1.with.on_demand_floor",
        "has no effect: the entry fills 'place' itself.",
    ),
    entry(
        "an order without its queue",
        "{use: decoupled, order: easy}",
        "s.yaml:11: >easy",
        "policies.1.order: ",
        "the whole queue in one place",
        "architecture: central",
    ),
    # legacy-2019 asks a policy only for `place`
    *[
        entry(
            f"another {point} of 2019",
            f"{{use: legacy-2019, {point}: {part}}}",
            f"s.yaml:11: >{part}",
            f"policies.1.{point}: has no effect: legacy-2019 asks a policy only for place. Remove it.",
        )
        for point, part in [
            ("order", "edf"),
            ("scale", "drain-time"),
            ("retry", "full-jitter"),
            ("protect", "daly"),
            ("move", "greedy"),
        ]
    ],
    entry(
        "a setting of 2019",
        "{use: legacy-2019, with: {pol: 5s}}",
        "s.yaml:11: >pol",
        "policies.1.with.pol: ",
        "no parameter of legacy-2019",
        "'poll'?",
    ),
    entry(
        "a setting of 2019",
        "{use: legacy-2019, with: {poll: 5}}",
        "s.yaml:11: >5",
        "policies.1.with.poll: ",
        "without a unit",
        "5s",
    ),
    entry(
        "a setting of 2019",
        "{use: legacy-2019, with: {poll: 0s}}",
        "s.yaml:11: >0s",
        "policies.1.with.poll: ",
        "above 0",
    ),
    entry(
        "what 2019 never asks",
        "{use: uniform-progress, architecture: legacy-2019}",
        "s.yaml:11: >uniform-progress",
        "policies.1.use: ",
        "fills move, which has no effect",
    ),
    entry(
        "2019's settings elsewhere",
        "{use: legacy-2019, architecture: decoupled, with: {poll: 5s}}",
        "s.yaml:11: >poll",
        "policies.1.with.poll",
        "no parameter",
    ),
    # a cluster is run by one head node, which asks for order and retry
    Case(
        "no head node",
        "s.yaml:3: >decoupled",
        ("policies.0: decoupled does not run on a cluster", "architecture: central"),
        swf(SWF_JOB.format(1, 0, 1)),
        scenario("central", "decoupled", LOG),
    ),
    Case(
        "places on a cluster",
        "s.yaml:3: >diversified",
        ("policies.0.place", "a cluster asks a policy only for order and retry. Remove it."),
        swf(SWF_JOB.format(1, 0, 1)),
        scenario("central", "{use: central, place: diversified}", LOG),
    ),
    # a user's policy file
    user(
        "a syntax error",
        PLACE + "class Mine:\n    def key(self, job)\n",
        "mine.py:3:23:",
        "is no Python",
        "It is named at s.yaml:11:34.",
    ),
    user(
        "a missing method",
        PLACE + "class Mine:\n    def route(self, job, now_ms): ...\n",
        "mine.py:2:",
        "no method 'choose'",
        "`place` needs route, choose",
        "s.yaml:11:34.",
    ),
    user(
        "no method of a point",
        "class Mine:\n    pass\n",
        "mine.py:1:",
        "fills no point of a policy.",
        "order: key;",
        "s.yaml:11:34.",
    ),
    user(
        "an import that fails",
        "import os\nimport nothing_of_this_name\n",
        "mine.py:2:",
        "ModuleNotFoundError",
        "s.yaml:11:34.",
    ),
    user(
        "an exception at import",
        "def half(n):\n    return n / 0\nhalf(1)\n",
        "mine.py:2:",
        "ZeroDivisionError",
        "s.yaml:11:34.",
    ),
    user(
        "an exit at import",
        "raise SystemExit(0)\n",
        "mine.py:1:",
        "cannot be imported: SystemExit: 0.",
        "s.yaml:11:34.",
    ),
    user(
        "a parameter without default",
        "class Mine:\n    def __init__(self, slack): ...\n    def key(self, job): ...\n",
        "mine.py:1:",
        "missing 1 required positional argument: 'slack'",
        "needs a default",
        "s.yaml:11:34.",
    ),
    user(
        "a constructor that raises",
        "class Mine:\n    def __init__(self):\n        raise ValueError('x')\n    def key(self, job): ...\n",
        "mine.py:1:",
        "Mine cannot be made: ValueError: x.",
        "s.yaml:11:34.",
    ),
    user(
        "another class",
        "class Mien:\n    def key(self, job): ...\n",
        "mine.py:1:",
        "no class 'Mine' in it.",
        "Mien",
        "s.yaml:11:34.",
    ),
    user("no text", b"\x00\xff", "mine.py:1:", "is no Python", "s.yaml:11:34."),
    user(
        "a part for another point",
        PLACE + "class Mine:\n    def key(self, job): ...\n",
        "s.yaml:11: >mine.py:Mine",
        "Mine does not fill 'scale'.",
        use="decoupled",
        more=", scale: mine.py:Mine",
    ),
    user(
        "no class named",
        "",
        "s.yaml:11: >mine.py",
        "policies.1.use: ",
        "names no class.",
        "mine.py:ClassName",
        use="mine.py",
    ),
    user(
        "another name",
        "",
        "s.yaml:11: >mien.py:Mine",
        "policies.1.use: ",
        "there is no file 'mien.py'.",
        "'mine.py'?",
        use="mien.py:Mine",
    ),
    user(
        "a parameter that it has not",
        PLACE + "class Mine(LowestPrice): ...\n",
        "s.yaml:11: >avod",
        "policies.1.with.avod: ",
        "'avoid'?",
        more=", with: {avod: 5m}",
    ),
    # SWF
    Case(
        "SWF, short lines",
        "log.swf:3:",
        ("has 4 fields, and an SWF job has 18.",),
        swf(SWF_JOB.format(1, 0, 1), "2 10 -1 x"),
        LOG,
    ),
    Case(
        "SWF, short lines",
        "log.swf: error: 7 of 8 lines are no SWF jobs.",
        ("--lenient",),
        swf(SWF_JOB.format(1, 0, 1), *["2 10"] * 7),
        LOG,
    ),
    Case("SWF, no number", "log.swf:2:", ("field 2 is not a number: 'soon'.",), swf(SWF_JOB.format(1, "soon", 1)), LOG),
    Case(
        "SWF, no finite number",
        "log.swf:2:",
        ("field 2 is not a number: 'nan'.",),
        swf(SWF_JOB.format(1, "nan", 1)),
        LOG,
    ),
    Case(
        "SWF, a time beyond reason",
        "log.swf:2:",
        ("field 2 is beyond all reason: '1e30'.",),
        swf(SWF_JOB.format(1, "1e30", 1)),
        LOG,
    ),
    Case(
        "SWF, a job too wide",
        "log.swf:3:",
        ("job 2 needs 64 slots; the cluster has 4.",),
        swf(SWF_JOB.format(1, 0, 1), SWF_JOB.format(2, 9, 64)),
        LOG,
    ),
    Case("SWF, no job", "log.swf:", ("there is no job in this file.", "only comments"), swf(), LOG),
    Case(
        "SWF, damaged",
        "log.swf:",
        ("is damaged", "Get the file again."),
        {"log.swf": gzip.compress(b"1 2 3")[:-4]},
        LOG,
    ),
    # traces and prices
    traced(
        "NaN",
        TRACE.replace("1]", "NaN]"),
        "t.json:1:48: error: data[1]",
        "nan is not a number of instances.",
        "at least 0.",
    ),
    traced("a negative count", TRACE.replace("0, 1]", "0,\n -1]"), "t.json:2:2: error: data[1]", "-1 is not"),
    traced("a count beyond reason", TRACE.replace("1]", "1e300]"), "t.json:1:48: error: data[1]", "a billion"),
    traced("a gap of 0", TRACE.replace("195", "0"), "t.json:1:30: error: metadata.gap_seconds", "above 0", "seconds"),
    traced(
        "a gap of years", TRACE.replace("195", "1e30"), "t.json:1:30: error: metadata.gap_seconds", "longer than a year"
    ),
    traced("no data", TRACE.replace("0, 1", ""), "t.json:1:44: error: data: is empty", "at least one tick"),
    traced("no key", TRACE.replace('data": [', 'dta": ['), "t.json: error: data: is missing.", "'dta'?"),
    traced("half of its JSON", TRACE[:20], "t.json:1:", "is not JSON"),
    traced("nothing", "", "t.json:", "is empty"),
    traced("a node that was never there", "0,add,a\n5,remove,b\n", "t.json:2:", "'b' was not there.", "The form is"),
    priced(
        "out of order",
        ("2021-01-03", "2021-01-01", "2021-01-02", "2021-01-04"),
        "p.csv:3:",
        "out of order",
        "--lenient",
    ),
    priced("with a hole", ("2021-01-01", "2021-01-02", "2021-03-01"), "p.csv:4:", "a hole of 1392 h", "--lenient"),
    priced(
        "with a price of nothing",
        ("c6i.xlarge,us-east-1a,Linux/UNIX,2021-01-01T00:00:00Z,0",),
        "p.csv:2:",
        "'0' is not a price",
    ),
    priced(
        "of other types",
        ("c5.xlarge,us-east-1a,Linux/UNIX,2021-01-01T00:00:00Z,1",),
        "p.csv:",
        "no prices for type 'c6i.xlarge'",
        "c5.xlarge",
    ),
    priced("without rows", (), "p.csv:", "no rows"),
    # tables of jobs
    Case(
        "a table, no runtime",
        "jobs.csv:1:",
        ("column 'runtime' is missing.", "The columns are: id."),
        jobs("id", "a"),
        TABLE,
    ),
    Case(
        "a table, wrong cells",
        "jobs.csv:3:",
        ("runtime: '5m' is not a number.",),
        jobs("id,runtime", "a,5", "b,5m"),
        TABLE,
    ),
    Case(
        "a table, ids twice", "jobs.csv:3:", ("the id 'a' is given 2 times.",), jobs("id,runtime", "a,5", "a,5"), TABLE
    ),
    Case(
        "a table, a circle", "jobs.csv:2:", ("in a circle", "Cut it"), jobs("id,runtime,after", "a,5,b", "b,5,a"), TABLE
    ),
    Case(
        "a table, nothing to wait for", "jobs.csv:2:", ("'a' waits for 'z'",), jobs("id,runtime,after", "a,5,z"), TABLE
    ),
    Case(
        "a table, a job that fits no pool",
        "jobs.csv:3:",
        ("job b fits no pool: it needs 64 vCPUs", "2 vCPUs"),
        jobs("id,runtime,vcpus", "a,5,1", "b,5,64"),
        TABLE,
    ),
    Case(
        "a table, a licence nobody owns",
        "jobs.csv:2:",
        ("no 'sim'", "licences: {sim: N}"),
        jobs("id,runtime,licences", "a,5,sim:2"),
        TABLE,
    ),
    Case(
        "a table, a pool of the wrong kind",
        "s.yaml:3: >on-demand-only",
        ("job b fits no on-demand pool", "purchase: on-demand"),
        jobs("id,runtime,vcpus", "a,5,2", "b,5,4"),
        scenario(
            "decoupled",
            "on-demand-only",
            scenario("max: 4}", "purchase: on-demand, max: 4}, {instance_type: c6i.xlarge}", TABLE),
        ),
    ),
    Case(
        "a table, a time beyond reason",
        "jobs.csv:2:",
        ("'a' has a time beyond all reason: 1e+30 s.",),
        jobs("id,runtime", "a,1e30"),
        TABLE,
    ),
    Case(
        "a table, other cells",
        "jobs.csv:3:",
        ("has 3 cells where the header has 2.",),
        jobs("id,runtime", "a,5", "b,5,6"),
        TABLE,
    ),
    Case(
        "a table, no file",
        "s.yaml:1: >jobs.csv",
        ("workload.path: ", "no such file: jobs.csv.", "'jobs2.csv'?"),
        {"jobs2.csv": ""},
        TABLE,
    ),
    # accounting
    accounting(
        "slurm", "other columns", "a.txt", "job|state\n1|DONE\n", "a.txt:1:", "column 'jobid' is missing.", "sacct -a"
    ),
    accounting(
        "slurm",
        "no time",
        "a.txt",
        "JobID|Submit|Elapsed|State\n1|soon|00:10:00|COMPLETED\n",
        "a.txt:2:",
        "job '1': 'soon' is not a time",
    ),
    accounting("lsf", "other columns", "a.txt", "one,two\n1,2\n", "a.txt:1:", "column 'jobid' is missing.", "bjobs -a"),
    accounting(
        "aws-batch",
        "another answer",
        "a.json",
        '[\n{"jobQueue": "q"}]',
        "a.json: error: job 1",
        "KeyError('jobId')",
        "describe-jobs",
    ),
    accounting("aws-batch", "half of its JSON", "a.json", '{"jobs": [', "a.json:1:", "is not JSON"),
    accounting(
        "parquet", "another content", "a.parquet", b"PAR1 and no more", "a.parquet:", "cannot be read as Parquet"
    ),
    accounting(
        "journal",
        "no run around it",
        "journal.parquet",
        "",
        "journal.parquet:",
        "no jobs.csv beside it.",
        "folder of a run",
    ),
]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPOTBED_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPOTBED_DATA", raising=False)


def write(files: Files) -> None:
    for name, content in files.items():
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())


def refused(*arguments: str) -> str:
    """What a command says that refuses its input, and leaves everything as it was."""
    before = sorted(Path().rglob("*"))
    result: Any = CliRunner().invoke(app, arguments)
    told = result.stdout + result.stderr
    assert result.exit_code == 2, told
    assert "Traceback" not in told
    assert "our fault" not in told
    assert sorted(Path().rglob("*")) == before
    return str(told)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_bad_input_is_told_with_its_place(case: Case) -> None:
    write({"s.yaml": case.scenario, **case.files})
    told = refused("compare", "s.yaml", "--jobs", "1").splitlines()
    place, _, word = case.place.partition(" >")
    number = next((number for number, line in enumerate(told) if line.startswith(place)), None)
    assert number is not None, told
    assert ": error: " in told[number]
    for part in case.says:
        assert part in told[number]
    if word:
        source, caret = told[number + 1 : number + 3]
        assert source[caret.index("^") : len(caret)] == word
    for command in ("run", "validate"):
        assert told[number] in refused(command, "s.yaml").splitlines()


def test_a_workload_that_never_begins() -> None:
    write({"s.yaml": scenario("60/h", "1/d") + "horizon: 1ms\n"})
    for command, worlds in (
        ("compare", "any of the 2 worlds"),
        ("run", "the world"),
        ("validate", "any of the 2 worlds"),
    ):
        told = refused(command, "s.yaml")
        assert f"s.yaml:13:10: error: horizon: no job arrives before the horizon of 1ms in {worlds}. Make the" in told


def test_the_scenarios_that_the_cases_start_from_are_good() -> None:
    write({"s.yaml": SCENARIO, "log.yaml": LOG, "table.yaml": TABLE, **jobs("id,runtime", "a,5")})
    write(swf(SWF_JOB.format(1, 0, 1)))
    result = CliRunner().invoke(app, ["validate", "s.yaml", "log.yaml", "table.yaml"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "s.yaml: valid\nlog.yaml: valid\ntable.yaml: valid\n"


def test_a_scenario_of_2_gb_that_is_no_yaml() -> None:
    with Path("core.yaml").open("wb") as stream:
        os.truncate(stream.fileno(), 2 * 2**30)  # sparse: it takes no room
    for command in ("compare", "run", "validate"):
        told = refused(command, "core.yaml")
        assert told.startswith("core.yaml: error: the file has 2.0 GiB; a scenario has at most 8 MiB. ")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("log.swf", LOG),
        ("jobs.csv", TABLE),
        ("t.json", scenario(MARKET, "interruptions: {source: trace, path: t.json}")),
        ("t.csv", scenario(MARKET, "interruptions: {source: lifetimes, path: t.csv}")),
        ("p.csv", scenario(MARKET, "prices: {source: trace, path: p.csv}")),
        ("runtimes.txt", scenario("20m", "{dist: empirical, path: runtimes.txt}")),
        ("mine.py", scenario("spot-only", "mine.py:Mine")),
    ],
)
@pytest.mark.parametrize("size_gib", [0.5, 2])
def test_another_file_of_2_gb_that_is_not_what_it_should_be(name: str, text: str, size_gib: float) -> None:
    """Told from its beginning or its size, so that it is not read whole."""
    write({"s.yaml": text})
    with Path(name).open("wb") as stream:
        os.truncate(stream.fileno(), int(size_gib * 2**30))
    tracemalloc.start()
    try:
        told = refused("validate", "s.yaml")
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()
    assert told.startswith(f"{name}: error: ")
    assert "Is this the right file?" in told


def test_text_in_utf_16_is_told_how_to_be_saved() -> None:
    write({"s.yaml": TABLE, "jobs.csv": "id,runtime\na,5\n".encode("utf-16")})
    assert "jobs.csv: error: is no text: its byte 3 is zero. Save it as UTF-8." in refused("validate", "s.yaml")


def test_a_small_file_that_unpacks_to_a_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textfile, "MOST_BYTES", 1 << 27)
    write({"s.yaml": LOG, "log.swf": gzip.compress(b"1" * (1 << 20), 9) * 129})
    assert Path("log.swf").stat().st_size < 1 << 20
    assert "log.swf: error: holds more than 0.12 GiB of text. Is this the right file?" in refused("validate", "s.yaml")


@pytest.mark.parametrize("command", ["compare", "run", "validate"])
def test_a_scenario_that_is_no_file(command: str) -> None:
    Path("folder").mkdir()
    assert refused(command, "folder") == "folder: error: is a folder, not a file. Check the path.\n"
    assert refused(command, "gone.yaml") == "gone.yaml: error: no such file. Check the path.\n"


@pytest.mark.parametrize("command", ["compare", "run", "validate"])
def test_a_scenario_that_may_not_be_read(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *arguments: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    Path("s.yaml").write_text(SCENARIO)
    monkeypatch.setattr(Path, "open", refuse)  # root, who may run this, reads everything
    assert refused(command, "s.yaml").startswith("s.yaml: error: cannot be read (Permission denied).")


def test_all_short_lines_are_counted_and_five_are_named() -> None:
    write({"s.yaml": LOG, **swf(*[SWF_JOB.format(number, number, 1) if number % 2 else "x" for number in range(14)])})
    told = refused("compare", "s.yaml").splitlines()
    named = [line.partition(": error: ")[0] for line in told if ": error: " in line]
    assert named == ["log.swf:2", "log.swf:4", "log.swf:6", "log.swf:8", "log.swf:10", "log.swf"]
    assert "log.swf: error: 7 of 14 lines are no SWF jobs. Go on without them with --lenient." in told


def test_the_lines_that_lenient_left_out_are_in_the_report() -> None:
    write({"s.yaml": LOG, **swf(SWF_JOB.format(1, 0, 1), "x", SWF_JOB.format(3, 5, 1))})
    for command, folder, page in (("compare", "a", "index.html"), ("run", "b", "report.html")):
        result = CliRunner().invoke(app, [command, "s.yaml", "--lenient", "--out", folder])
        assert result.exit_code == 0, result.stderr
        assert "note: 1 of 3 lines are no SWF jobs: left out\n" in result.stderr
        assert "1 of 3 lines are no SWF jobs: left out" in (Path(folder) / page).read_text(encoding="utf-8")
    assert "s.yaml: valid" in CliRunner().invoke(app, ["validate", "s.yaml", "--lenient"]).stdout


def test_the_prices_that_lenient_let_pass_are_in_the_report() -> None:
    days = ("2021-01-02", "2021-01-01", "2021-01-03", "2021-03-01")
    case = priced("out of order", days, "")
    write({"s.yaml": case.scenario, **case.files})
    assert "p.csv:3: " in refused("compare", "s.yaml")
    assert "p.csv:5: " in refused("compare", "s.yaml")
    note = "p.csv: 2 prices that are out of order, come twice or stand at a hole are used as they are"
    for command, page in (("compare", "index.html"), ("run", "report.html")):
        result = CliRunner().invoke(app, [command, "s.yaml", "--lenient", "--out", command])
        assert result.exit_code == 0, result.stderr
        assert f"note: {note}\n" in result.stderr
        assert note in (Path(command) / page).read_text(encoding="utf-8")


def test_worlds_without_jobs_are_counted() -> None:
    write({"s.yaml": scenario("60/h", "1/h", scenario("  jobs: 5\n", "")) + "horizon: 1h\n"})
    result = CliRunner().invoke(app, ["compare", "s.yaml", "--jobs", "1", "--replications", "8", "-o", "csv"])
    assert result.exit_code == 0, result.stderr
    empty = [line for line in Path("reports/s/worlds.csv").read_text().splitlines() if line.startswith("spot-only,")]
    count = sum(line.split(",")[header().index("jobs_submitted")] in ("0", "0.0") for line in empty)
    assert 0 < count < 8
    note = f"{count} of 8 worlds have no job: none arrives before their horizon"
    assert f"note: {note}\n" in result.stderr
    assert note in Path("reports/s/index.html").read_text(encoding="utf-8")


def header() -> list[str]:
    return Path("reports/s/worlds.csv").read_text().splitlines()[0].split(",")


def test_an_override_that_is_wrong_is_told_as_it_was_typed() -> None:
    write({"s.yaml": SCENARIO})
    for text, says in [
        ("workload.jbs=3", "--set workload.jbs=3: error: workload.jbs: unknown key. Did you mean 'jobs'?"),
        ("workload.jobs=-3", "--set workload.jobs=-3: error: workload.jobs: must be at least 1, not -3."),
        ("jobs", "--set jobs: error: not key=value. Write it as --set workload.jobs=100."),
    ]:
        assert says in refused("compare", "s.yaml", "--set", text)
