"""The committed models are what the pinned botocore gives. Needs that botocore; skips with another or none."""

import importlib.metadata
import json
import pathlib
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PINNED = json.loads((ROOT / "models/origin.json").read_text())["version"]


def installed():
    try:
        return importlib.metadata.version("botocore")
    except importlib.metadata.PackageNotFoundError:
        return None


class Models(unittest.TestCase):
    @unittest.skipUnless(installed() == PINNED, f"needs botocore {PINNED}")
    def test_committed_models_are_what_botocore_gives(self):
        import botocore

        packages = pathlib.Path(botocore.__file__).parents[1]
        check = [sys.executable, ROOT / "tools/refresh-models.py", "--check", packages]
        run = subprocess.run(check, capture_output=True, text=True)
        self.assertEqual(run.returncode, 0, run.stderr)

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
