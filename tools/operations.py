#!/usr/bin/env python3
"""What is built of each model: tools/operations.py > docs/operations.md. Facts: models/*.json and models/*.rows."""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools/modelc"))
from rows import Rows  # noqa: E402

SERVICES = {"ec2": "EC2", "sts": "STS"}


def states(service):
    """{operation: "real", "recorded" or "not built"}, by name."""
    model = json.loads((ROOT / f"models/{service}.json").read_text())
    rows = Rows(ROOT / f"models/{service}.rows")
    built = {kind.describe["operation"]: "real" for kind in rows.kinds if kind.describe} | rows.operations
    unknown = set(built) - set(model["operations"])
    if unknown:
        raise SystemExit(f"{service}.rows: not in the model: {', '.join(sorted(unknown))}")
    return {name: built.get(name, "not built") for name in sorted(model["operations"])}


def page():
    yield "# Operations"
    yield ""
    yield "Every operation of AWS's models. *real*: what it answers is so. *recorded*: kept and shown, nothing follows it yet."
    yield "*not built*: answers 501 `NotImplemented`. Written by `make docs`; a test fails when it is stale."
    for service, title in SERVICES.items():
        operations = states(service)
        count = {state: list(operations.values()).count(state) for state in ("real", "recorded", "not built")}
        yield ""
        yield f"## {title}: " + ", ".join(f"{n} {state}" for state, n in count.items())
        yield ""
        yield "| operation | |"
        yield "|---|---|"
        for name, state in operations.items():
            yield f"| {name} | {state} |"


if __name__ == "__main__":
    print("\n".join(page()))
