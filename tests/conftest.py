"""What every test shares: where the build lies."""

import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def build():
    """The build under test: tools/test says which."""
    return pathlib.Path(os.environ.get("HAAR_BUILD", ROOT / "build"))
