"""The committed models are what the pinned packages give. What needs a package skips without that very version."""

import importlib.metadata
import json
import pathlib
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PINNED = {o["package"]: o["version"] for o in json.loads((ROOT / "models/catalogue-origin.json").read_text())}


def packages(name):
    """The folder of packages that has the pinned version of `name`; None without it."""
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    return found.locate_file("") if found.version == PINNED[name] else None


class Models(unittest.TestCase):
    def check(self, tool, *sources):
        command = [sys.executable, ROOT / "tools" / tool, "--check", *sources]
        run = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(run.returncode, 0, run.stderr)

    @unittest.skipUnless(packages("botocore"), f"needs botocore {PINNED['botocore']}")
    def test_committed_models_are_what_botocore_gives(self):
        self.check("refresh-models.py", packages("botocore"))

    @unittest.skipUnless(packages("botocore") and packages("moto"), f"needs moto {PINNED['moto']} and botocore")
    def test_committed_catalogue_is_what_moto_gives(self):
        self.check("refresh-catalogue.py", packages("moto"), packages("botocore"))

    def test_models_carry_no_prose(self):
        for name in ("ec2.json", "sts.json"):
            self.assertNotIn('"documentation":"', (ROOT / "models" / name).read_text())

    def test_every_documented_filter_has_a_name_on_the_wire(self):
        filters = json.loads((ROOT / "models/ec2-filters.json").read_text())
        names = [name for operation in filters.values() for name in operation]
        self.assertGreater(len(names), 1104)
        for name in names:
            self.assertRegex(name, r"^([A-Za-z0-9.-]+|tag:<key>)$")


if __name__ == "__main__":
    unittest.main()
