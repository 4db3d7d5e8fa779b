"""docs/operations.md says what the program does."""

import operations
import pytest
from haar import Raw, error_of


def test_the_page_is_what_the_models_give():
    committed = (operations.ROOT / "docs/operations.md").read_text()
    assert committed == "\n".join(operations.page()) + "\n", "stale: run `make docs`"


@pytest.mark.parametrize("service", operations.SERVICES)
def test_what_is_not_built_says_so_and_what_is_built_does_not(server, service):
    raw = Raw(server.port, service=service)
    for name, state in operations.states(service).items():
        if state == "not built":
            status, body = raw.call(name)
            assert (status, error_of(body)[0]) == (501, "NotImplemented"), name
        else:
            status, body = raw.call(name, NoSuchParameter="1")
            assert (status, error_of(body)[0]) == (400, "UnknownParameter"), name
    raw.close()
