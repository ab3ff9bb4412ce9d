"""The sample database of a telecom operator, small: what the demonstration shows, for tests."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from proxy.demo.telecom import load
from tests.fix_postgres import Database

SUBSCRIBERS = 400
CALLS = 5000
TODAY = datetime.now(UTC).date()


@pytest.fixture(scope="module")
def telecom(module_database: Database) -> Database:
    """A database for all tests of one module, with the sample data, its cast and its roles."""
    load(module_database.dsn(), subscribers=SUBSCRIBERS, calls=CALLS, today=TODAY)
    return module_database
