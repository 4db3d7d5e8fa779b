"""tests/mutations says what is there: a mutation whose line has changed would be tried no more."""

import importlib.machinery
import importlib.util
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def load(path):
    loader = importlib.machinery.SourceFileLoader(path.name, str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(path.name, loader))
    loader.exec_module(module)
    return module


MUTATIONS = load(ROOT / "tools/mutate").read()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[m.title for m in MUTATIONS])
def test_a_mutation_fits_the_source_and_names_its_test(mutation):
    assert (ROOT / mutation.file).read_text().count(mutation.before) == 1
    assert mutation.before != mutation.after and mutation.tests
    for test in mutation.tests:
        assert (ROOT / test.split("::")[0]).exists() or list(ROOT.glob(f"*/**/{test}.c")), test


def test_every_room_has_some():
    rooms = {m.file.split("/")[1] if m.file.startswith("src/") else m.file.split("/")[0] for m in MUTATIONS}
    assert rooms >= {path.name for path in (ROOT / "src").iterdir() if path.is_dir()} | {"guest", "models"}
