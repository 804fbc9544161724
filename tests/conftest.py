"""For every test: no sockets where a test says it needs none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_socket import disable_socket, enable_socket

_TESTS = Path(__file__).parent
_OFFLINE = (_TESTS / "unit", _TESTS / "contract")


@pytest.fixture(autouse=True)
def _no_sockets(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests in unit/ and contract/ cannot open a socket, not even by accident: the attempt fails the test."""
    if not any(request.node.path.is_relative_to(folder) for folder in _OFFLINE):
        yield
        return
    disable_socket()
    yield
    enable_socket()
