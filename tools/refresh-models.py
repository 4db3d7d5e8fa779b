#!/usr/bin/env python3
"""Writes models/ from a pinned botocore: what concerns wire and validation, without the prose.

    tools/refresh-models.py [--check] [botocore]

`botocore` is a wheel, or a folder that has botocore/data (site-packages); without it the pinned wheel is fetched with
pip into a temporary folder. --check writes nothing and fails when a committed file is not what the source gives.
"""

import argparse
import gzip
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile
from html.parser import HTMLParser

MODELS = pathlib.Path(__file__).resolve().parent.parent / "models"
VERSION = "1.44.5"
EC2 = "ec2/2016-11-15"
STS = "sts/2011-06-15"
PROSE = {"documentation", "deprecatedMessage", "deprecatedSince", "documentationUrl"}


class Source:
    """The data folder of a botocore, in a wheel or unpacked. Remembers what was read of it."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.wheel = zipfile.ZipFile(self.path) if self.path.is_file() else None
        self.digests = {}

    def bytes(self, name):
        if self.wheel:
            return self.wheel.read(name)
        return (self.path / name).read_bytes()

    def json(self, name):
        try:
            raw = self.bytes(f"botocore/data/{name}")
        except (KeyError, FileNotFoundError):
            raw = gzip.decompress(self.bytes(f"botocore/data/{name}.gz"))
        self.digests[name] = hashlib.sha256(raw).hexdigest()
        return json.loads(raw)

    def version(self):
        return re.search(r"__version__ = '([^']+)'", self.bytes("botocore/__init__.py").decode())[1]


def compact(value):
    return json.dumps(value, separators=(",", ":"), sort_keys=False, ensure_ascii=False)


def one_a_line(value):
    """A JSON object whose entries stand one a line: diffs stay readable, files small."""
    return "{\n" + ",\n".join(f"{compact(k)}:{compact(value[k])}" for k in sorted(value)) + "\n}"


# --- service-2 -----------------------------------------------------------------------------------------------------


def without_prose(value, members=False):
    """Sorted, but for a structure's members: their order is AWS's, which is the order on the wire."""
    if isinstance(value, list):
        return [without_prose(v) for v in value]
    if not isinstance(value, dict):
        return value
    if members:  # keys are names of members here, so none of them is prose
        return {k: without_prose(v) for k, v in value.items()}
    return {k: without_prose(v, k == "members") for k, v in sorted(value.items()) if k not in PROSE}


def service(model):
    parts = [
        f'"metadata":{compact(without_prose(model["metadata"]))}',
        f'"operations":{one_a_line({k: without_prose(v) for k, v in model["operations"].items()})}',
        f'"shapes":{one_a_line({k: without_prose(v) for k, v in model["shapes"].items()})}',
        f'"version":{compact(model["version"])}',
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"


# --- filters -------------------------------------------------------------------------------------------------------


class Items(HTMLParser):
    """The text of each item of the outermost lists; a list within an item names values, not filters."""

    def __init__(self):
        super().__init__()
        self.depth = 0
        self.items = []

    def handle_starttag(self, tag, attrs):
        self.depth += tag == "ul"
        if tag == "li" and self.depth == 1:
            self.items.append("")

    def handle_endtag(self, tag):
        self.depth -= tag == "ul"

    def handle_data(self, data):
        if self.depth == 1 and self.items:
            self.items[-1] += data


def filter_names(prose):
    items = Items()
    items.feed(prose)
    names = []
    for text in items.items:
        name = re.match(r"\s*(tag\s*:\s*<key>|[A-Za-z0-9.-]+?)\s*(?:[-–—:]\s|$|\()", text + " ")
        if not name:
            raise SystemExit(f"no filter name in {text[:80]!r}")
        name = re.sub(r"\s", "", name[1])
        if name not in names:
            names.append(name)
    return names or re.findall(r"using the <code>([a-z-]+)</code> filter", prose)


def filters(model):
    """{operation: names} for every operation with a list of filters; empty where AWS documents no name."""
    shapes, found = model["shapes"], {}
    for name, operation in model["operations"].items():
        members = shapes[operation["input"]["shape"]]["members"] if "input" in operation else {}
        for member in members.values():
            if member["shape"] == "FilterList":
                found[name] = filter_names(member.get("documentation", ""))
    return found


# --- examples ------------------------------------------------------------------------------------------------------


def paths_of(value, path, seen):
    """Counts, for each structure's path, how often it stands there and how often each member of it does."""
    if isinstance(value, dict):
        structure = seen.setdefault(path, [0, {}])
        structure[0] += 1
        for key, member in value.items():
            structure[1][key] = structure[1].get(key, 0) + 1
            paths_of(member, f"{path}.{key}" if path else key, seen)
    elif isinstance(value, list):
        for item in value:
            paths_of(item, path + "[]", seen)


def always_sent(examples):
    """{operation: member paths that stand in every example response in which their structure stands}"""
    found = {}
    for operation, cases in examples.items():
        seen = {}
        for case in cases:
            if "output" in case:
                paths_of(case["output"], "", seen)
        always = [
            f"{path}.{key}" if path else key
            for path, (count, members) in seen.items()
            for key, times in members.items()
            if times == count
        ]
        if always:
            found[operation] = sorted(always)
    return found


def paginators(source):
    pages = source.json(f"{EC2}/paginators-1.json")["pagination"]
    extras = source.json(f"{EC2}/paginators-1.sdk-extras.json")["merge"]["pagination"]
    return {name: dict(sorted({**page, **extras.get(name, {})}.items())) for name, page in pages.items()}


# --- all -----------------------------------------------------------------------------------------------------------


def files_from(source):
    ec2 = source.json(f"{EC2}/service-2.json")
    sts = source.json(f"{STS}/service-2.json")
    examples = source.json(f"{EC2}/examples-1.json")["examples"]
    files = {
        "ec2.json": service(ec2),
        "sts.json": service(sts),
        "ec2-filters.json": one_a_line(filters(ec2)) + "\n",
        "ec2-examples.json": one_a_line(always_sent(examples)) + "\n",
        "ec2-paginators.json": one_a_line(paginators(source)) + "\n",
    }
    origin = {
        "package": "botocore",
        "version": source.version(),
        "licence": "Apache-2.0",
        "sha256": dict(sorted(source.digests.items())),  # of the files of botocore/data, uncompressed
    }
    files["origin.json"] = json.dumps(origin, indent=1) + "\n"
    return files


def fetch(folder):
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, f"botocore=={VERSION}"], check=True
    )
    return next(pathlib.Path(folder).glob("botocore-*.whl"))


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--check", action="store_true")
    options.add_argument("botocore", nargs="?")
    chosen = options.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        files = files_from(Source(chosen.botocore or fetch(folder)))
    stale = []
    for name, text in files.items():
        path = MODELS / name
        if chosen.check and (not path.exists() or path.read_text() != text):
            stale.append(name)
        elif not chosen.check:
            path.write_text(text)
    if stale:
        raise SystemExit(f"not what botocore gives: {', '.join(stale)}")


if __name__ == "__main__":
    main()
