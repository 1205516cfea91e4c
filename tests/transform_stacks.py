"""Runs AWS's own SAM transform over rendered stacks and writes what CloudFormation would get, for cfn-lint to read:
`python tests/transform_stacks.py FOLDER`, in an environment with aws-sam-translator (its pydantic is not ours)."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import yaml

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")  # the transform asks for one, and calls nothing


class NoManagedPolicies:
    """Our roles name none of AWS's policies by their short names."""

    def load(self) -> dict[str, Any]:
        return {}


def main(folder: Path) -> None:
    from samtranslator.translator.transform import transform

    logging.disable(logging.WARNING)  # it warns of metrics of its own that nobody collects
    for path in (folder / "scheduler.yaml", folder / "local.yaml"):
        made = transform(yaml.safe_load(path.read_text("utf-8")), {}, NoManagedPolicies())
        target = path.with_suffix(".transformed.json")
        target.write_text(json.dumps(made, indent=1, sort_keys=True), "utf-8")
        sys.stdout.write(f"{target}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
