"""The tree of commands."""

from __future__ import annotations

from typing import Annotated

import typer

from spotbed.cli import bench, data, deploy, doctor, plan, policy, results, runs, schema, stack, start, sweeps, verify
from spotbed.cli.command import Debug, NoColor, Output, Quiet

app = typer.Typer(
    name="spotbed",
    help="Compare scheduling policies for batch jobs on EC2 Spot: makespan, waiting, lost work and the whole bill.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # errors end in spotbed.cli.failures
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from spotbed.provenance import spotbed_version

        typer.echo(f"spotbed {spotbed_version()}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="The version, and no more.")
]


@app.callback()
def root(
    output: Output = None,
    no_color: NoColor = False,
    quiet: Quiet = False,
    debug: Debug = False,
    version: Version = False,
) -> None:
    pass


for unnamed in (start.app, runs.app, sweeps.app, results.app, plan.app, deploy.app, stack.app, verify.app):
    app.add_typer(unnamed)
app.add_typer(bench.app, name="bench")
app.add_typer(data.app, name="data")
app.add_typer(policy.app, name="policy")
app.add_typer(schema.app, name="schema")
app.add_typer(doctor.app)
