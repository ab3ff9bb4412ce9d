"""The rig has a server of its own: its roles are cluster-wide, and hold all that PostgreSQL can give."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy.demo.postgres import EmbeddedPostgres


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres]:
    """Takes the place of the run's server for the tests of this folder."""
    with EmbeddedPostgres(version=request.config.getoption("--postgres")) as server:
        yield server
