"""What decisions rest on is looked up once for each event of a connection, and again for the next."""

from __future__ import annotations

import pytest

from proxy.catalog.model import Catalog
from proxy.session.circumstances import Circumstances, Prepared
from proxy.session.transaction import Transaction
from proxy.verdict import Begin, Commit, SetSetting
from tests.session.rules import FixedPolicy, RulesEngine, empty_catalog


class Catalogs:
    """One catalog, as long as it can be trusted. ``asked`` counts how often somebody wanted it."""

    def __init__(self) -> None:
        self.catalog: Catalog | None = empty_catalog("crm")
        self.asked = 0

    def current(self, database: str) -> Catalog:
        self.asked += 1
        if self.catalog is None:
            raise LookupError(database)
        return self.catalog


@pytest.fixture
def catalogs() -> Catalogs:
    return Catalogs()


@pytest.fixture
def transaction() -> Transaction:
    return Transaction({})


@pytest.fixture
def faults() -> list[BaseException]:
    return []


@pytest.fixture
def circumstances(catalogs: Catalogs, transaction: Transaction, faults: list[BaseException]) -> Circumstances:
    return Circumstances(
        RulesEngine(), FixedPolicy(), catalogs.current, "crm", "app", transaction, lambda: Prepared({}), faults.append
    )


def test_one_look_for_each_event(circumstances: Circumstances, catalogs: Catalogs) -> None:
    circumstances.look_again()
    circumstances.decide(b"SELECT 1")
    asked = catalogs.asked
    circumstances.decide(b"SELECT 2")
    assert catalogs.asked == asked
    circumstances.look_again()
    circumstances.decide(b"SELECT 1")
    assert catalogs.asked > asked


def test_while_the_catalog_cannot_be_trusted_nothing_is_decided(
    circumstances: Circumstances, catalogs: Catalogs, faults: list[BaseException]
) -> None:
    assert circumstances.decide(b"SELECT 1").refusal is None
    catalogs.catalog = None
    circumstances.look_again()
    for _ in range(3):  # not once only: the messages of one read are decided one after another
        assert circumstances.decide(b"SELECT 1").refusal is not None
    assert len(faults) == 3


def test_a_transaction_that_sets_nothing_changes_nothing(
    circumstances: Circumstances, transaction: Transaction
) -> None:
    before = circumstances.present()
    for effects, same in (
        ((Begin(),), True),
        ((SetSetting("consentry.purpose", "care"),), False),
        ((Commit(),), False),
    ):
        transaction.complete(effects, b"")
        circumstances.changed()
        assert (circumstances.present() is before) is same
        assert circumstances.present().context.settings == transaction.settings.current()
        before = circumstances.present()
