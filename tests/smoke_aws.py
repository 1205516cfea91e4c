"""What only a real account can show: `SPOTBED_AWS_TARGET=TARGET.yaml make test-aws`.

It compares two policies, plans, applies, runs three jobs (one of which fails), looks at logs and outputs, verifies,
destroys, and checks that nothing is left. It says first what that may cost, and goes on only with SPOTBED_AWS_PAY=yes.
It takes about twenty minutes. The account, region, network, image and budget are those of the target; the stack gets a
name of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

STACK = "spotbed-smoke"
INSTANCE_TYPES = {"x86_64": "c6i.large", "arm64": "c7g.large"}
INSTANCES, HOURS = 4, 0.5  # of each pool at most; how long all of this may take
WITHIN_S = 1_200.0
JOBS = [
    {"id": "hello", "commands": ["echo Hello World; echo out > result"], "outputs": ["result"]},
    {"id": "sum", "commands": ["echo $((2 + 2))"], "success_string": "4"},
    {"id": "fails", "commands": ["echo Hello EVERYONE"], "success_string": "Hello World", "retries": 1},
]
ENDS = {"hello": "done", "sum": "done", "fails": "failed"}
Run = Callable[..., tuple[int, str]]
SCENARIO = """\
name: smoke
replications: 6
workload: {{source: synthetic, jobs: 12, arrivals: {{dist: poisson, rate: 60/h}},
           classes: [{{runtime: {{dist: constant, value: 30m}}, vcpus: 1, memory: 1 GiB, deadline: 24h}}]}}
capacity:
  pools:
    - {{id: spot, instance_type: {kind}, az: {zone}, purchase: spot, max: {most}}}
    - {{id: od, instance_type: {kind}, az: {zone}, purchase: on-demand, max: {most}}}
policies: [{{use: on-demand-only, label: on-demand}}, {{use: spot-only, label: spot}}]
baseline: on-demand
"""


def spotbed(*arguments: str) -> tuple[int, str]:
    """The command line, as a user has it: (exit code, what it printed). Progress goes to this terminal."""
    argv = [sys.executable, "-m", "spotbed", *arguments]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout


@dataclass
class Smoke:
    """The steps, in `folder`. `meanwhile` is called again and again while jobs are waited for."""

    folder: Path
    target: dict[str, Any]
    run: Run = spotbed
    say: Callable[[str], object] = print
    meanwhile: Callable[[], None] = lambda: time.sleep(10.0)
    within_s: float = WITHIN_S

    def write(self) -> None:
        """The scenario and the target: small, and under a name of its own."""
        images = self.target["images"]
        arch = next(each for each in INSTANCE_TYPES if images.get(each))
        zone = next(iter(self.target.get("network", {}).get("subnets", {})), f"{self.target['region']}a")
        text = SCENARIO.format(kind=INSTANCE_TYPES[arch], zone=zone, most=INSTANCES)
        (self.folder / "smoke.yaml").write_text(text)
        bucket = f"{self.target['teams'][0]['bucket'][:50]}-smoke"
        mine = {**self.target, "stack": STACK, "teams": [{"name": "smoke", "bucket": bucket}]}
        (self.folder / "TARGET.yaml").write_text(yaml.safe_dump(mine))

    def ok(self, *arguments: str, code: int = 0) -> str:
        """What a command prints; another exit code ends it all."""
        self.say(f"$ spotbed {' '.join(arguments)}")
        found, printed = self.run(*arguments)
        assert found == code, f"exit code {found}:\n{printed}"
        return printed

    def document(self, *arguments: str) -> Any:
        return json.loads(self.ok(*arguments, "-o", "json"))

    def plan(self) -> dict[str, Any]:
        """Compare and plan; the plan."""
        self.write()
        scenario, record = str(self.folder / "smoke.yaml"), str(self.folder / "record")
        target, plan = str(self.folder / "TARGET.yaml"), str(self.folder / "PLAN")
        self.ok("compare", scenario, "--out", record, "-q")
        self.ok("plan", scenario, "--policy", "spot", "--record", record, "--target", target, "-o", plan, "-q")
        found: dict[str, Any] = json.loads((self.folder / "PLAN").read_text())
        return found

    def estimate_usd(self, plan: dict[str, Any]) -> float:
        """What it may cost at most: all pools full, on-demand, beside what a stack costs that idles."""
        out = self.target.get("network", {}).get("out", "endpoints")
        idle = plan["idle"]["usd_per_month"][out] / 730
        instances = sum(pool["max"] * pool["on_demand_usd_per_hour"] for pool in plan["pools"])
        return float(HOURS * (idle + instances))

    def deploy_and_use(self) -> None:
        """Apply, twice; run the jobs; look at them; destroy, whatever happened."""
        plan = str(self.folder / "PLAN")
        try:
            self.document("apply", plan, "--yes")
            assert self.document("apply", plan)["changes"] == [], "a second apply would do something"
            self.use()
        finally:
            self.ok("destroy", STACK, "--target", "aws", "--region", self.target["region"], "--yes", "--now")
        self.ok("status", *self.there(), code=4)  # there is none any more

    def there(self) -> tuple[str, ...]:
        return "--stack", STACK, "--target", "aws", "--region", str(self.target["region"])

    def use(self) -> None:
        """The jobs of a user."""
        (self.folder / "jobs.json").write_text(json.dumps(JOBS))
        assert self.document("submit", str(self.folder / "jobs.json"), *self.there())["jobs"] == list(ENDS)
        until_s = time.monotonic() + self.within_s
        while (phases := self.phases()) != ENDS:
            assert time.monotonic() < until_s, f"the jobs have not ended: {phases}"
            self.meanwhile()
        assert "Hello World" in self.ok("logs", "hello", *self.there())
        self.ok("fetch", "hello", "--out", str(self.folder / "out"), *self.there())
        assert (self.folder / "out" / "result").read_text() == "out\n"
        self.ok("drain", *self.there())
        if has_verify():
            self.say("$ spotbed verify (three jobs prove nothing; what counts is that it reads the journal)")
            self.say(self.run("verify", *self.there(), "--scenario", str(self.folder / "smoke.yaml"))[1])

    def phases(self) -> dict[str, str]:
        return {job["job_id"]: job["phase"] for job in self.document("jobs", *self.there())["jobs"]}


def has_verify() -> bool:
    """Whether this version can compare a deployed run with its prediction."""
    from spotbed.cli.app import app

    groups = (group.typer_instance for group in app.registered_groups if group.typer_instance is not None)
    return any(each.name == "verify" or each.callback.__name__ == "verify"
               for group in groups for each in group.registered_commands if each.callback is not None)  # fmt: skip


def main() -> int:
    """The exit code: 0 when all is well, 1 when it was not allowed to start."""
    path = os.environ.get("SPOTBED_AWS_TARGET")
    if not path:
        sys.stderr.write("Name an account's target: SPOTBED_AWS_TARGET=TARGET.yaml make test-aws\n")
        return 1
    target = yaml.safe_load(Path(path).read_text("utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        smoke = Smoke(Path(folder), target)
        cost_usd = smoke.estimate_usd(smoke.plan())
        sys.stderr.write(f"At most about ${cost_usd:.2f}, in {target['region']}, for up to {HOURS * 60:.0f} minutes.\n")
        if os.environ.get("SPOTBED_AWS_PAY") != "yes":
            sys.stderr.write("Nothing was deployed. To go on, say so: SPOTBED_AWS_PAY=yes\n")
            return 1
        smoke.deploy_and_use()
    sys.stderr.write("All is well, and nothing is left.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
