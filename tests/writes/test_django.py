"""Django's ORM over classified tables, where Django is installed: who may write does not notice that anybody stands
between, and who may not reads why in Django's own exception.

Each play runs twice, directly and through consentry: what it gives back and what is stored must be the same."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fix_postgres import Database
from tests.fix_proxy import Proxy

APPLICATION = Path(__file__).parent / "crm"
REASON = "Django is not installed"
django = pytest.importorskip("django", reason=REASON)
conf = pytest.importorskip("django.conf", reason=REASON)
if not conf.settings.configured:
    conf.settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "none"}},
        INSTALLED_APPS=["tests.writes.crm"],
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    django.setup()
db = pytest.importorskip("django.db", reason=REASON)
crm = pytest.importorskip("tests.writes.crm.models", reason=REASON)
plays = pytest.importorskip("tests.writes.crm.plays", reason=REASON)
changes = pytest.importorskip("tests.writes.crm.changes", reason=REASON)
management = pytest.importorskip("django.core.management", reason=REASON)

TABLES = ("customer", "consent", "order", "parcel", "profile", "member", "tag", "customer_tags")
DATA = f"""
TRUNCATE {", ".join(f"crm_{name}" for name in TABLES)} RESTART IDENTITY;
INSERT INTO crm_customer (id, full_name, phone, plan, visits, status, updated)
    SELECT n, 'Anna ' || n, '1380000000' || n, 'basic', 0, 'active', now() FROM generate_series(1, 4) n;
INSERT INTO crm_consent (customer_id, purpose, withdrawn_at)
    VALUES (1, 'billing', NULL), (2, 'billing', NULL), (3, 'billing', now());
INSERT INTO crm_order (customer_id, number, address, total)
    SELECT n, 'A' || n, 'Street number ' || n, 10 FROM generate_series(1, 4) n;
INSERT INTO crm_parcel (order_id, greeting, weight) SELECT n, 'Dear ' || n, 1 FROM generate_series(1, 4) n;
INSERT INTO crm_profile (customer_id, biography, mail)
    SELECT n, '', 'anna' || n || '@example.com' FROM generate_series(1, 4) n;
INSERT INTO crm_tag (name) VALUES ('regular');
INSERT INTO crm_customer_tags (customer_id, tag_id) VALUES (2, 1), (3, 1);
ALTER TABLE crm_customer ALTER id RESTART WITH 10;
"""
"""Customers 1 and 2 agreed to billing, 3 has withdrawn, 4 never agreed."""

As = Callable[..., None]


def _use(database: Database, host: str, port: int, user: str, **options: Any) -> None:
    connection = db.connections["default"]
    connection.close()
    connection.settings_dict.update(HOST=host, PORT=str(port), NAME=database.name, USER=user, OPTIONS=options)


@pytest.fixture(scope="module")
def tables(roles: tuple[str, ...], module_database: Database) -> Iterator[Database]:
    """The tables as Django's migrations make them, in a database without a proxy."""
    _use(module_database, module_database.postgres.host, module_database.postgres.port, "postgres")
    with db.connection.schema_editor() as editor:
        for model in django.apps.apps.get_app_config("crm").get_models():
            editor.create_model(model)
    db.connection.close()
    for kind in ("TABLES", "SEQUENCES"):
        module_database.execute(f"GRANT ALL ON ALL {kind} IN SCHEMA public TO {', '.join(roles)}")
    yield module_database
    db.connection.close()


@pytest.fixture(scope="module")
def address(tables: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    folder = tmp_path_factory.mktemp("django")
    with Proxy(folder, "--policy", str(APPLICATION / "policy.yaml"), "--upstream", tables.dsn()) as proxy:
        host, _, port = proxy.ready().rpartition(":")
        yield host, int(port)


@pytest.fixture
def directly(tables: Database) -> Iterator[As]:
    """Has Django connect as a role, without the proxy."""
    tables.execute(DATA)
    yield lambda role, **options: _use(tables, tables.postgres.host, tables.postgres.port, role, **options)
    db.connection.close()


@pytest.fixture
def proxied(directly: As, tables: Database, address: tuple[str, int]) -> As:
    """The same through consentry."""
    assert directly
    return lambda role, **options: _use(tables, *address, role, **options)


def stored(database: Database) -> list[list[tuple[Any, ...]]]:
    """All that is stored, but for times."""
    times = "'{updated, granted_at, withdrawn_at}'::text[]"
    return [
        database.execute(f"SELECT (to_jsonb(t) - {times})::text AS row FROM crm_{name} t ORDER BY row")
        for name in TABLES
    ]


@pytest.mark.parametrize("binding", [False, True], ids=["client", "server"])
@pytest.mark.parametrize("play", plays.PLAYS, ids=lambda play: play.__name__)
def test_who_may_write_does_not_notice(
    play: Callable[[], Any], binding: bool, directly: As, proxied: As, tables: Database
) -> None:
    outcomes = []
    for route in (directly, proxied):
        tables.execute(DATA)
        route("billing", server_side_binding=binding)
        outcomes.append((play(), stored(tables)))
    assert outcomes[0] == outcomes[1]


def test_a_customer_registers(proxied: As, tables: Database) -> None:
    proxied("signup")
    with db.transaction.atomic():
        customer = crm.Member.objects.create(full_name="Bo Li", phone="13900000001", card="6222000011112222")
        crm.Order.objects.create(customer=customer, number="R1", address="Lane number one")
        crm.Consent.objects.create(customer=customer, purpose="billing")
    customer.phone = "13900000002"
    customer.save()
    assert tables.execute("SELECT id, phone FROM crm_customer WHERE full_name = 'Bo Li'") == [(10, "13900000002")]
    assert customer.delete()[1] == {"crm.Consent": 1, "crm.Order": 1, "crm.Member": 1, "crm.Customer": 1}


def test_without_consent_nobody_registers(proxied: As, tables: Database) -> None:
    proxied("signup")
    before = stored(tables)
    for wrapped in (db.transaction.atomic, lambda: db.transaction.atomic(durable=True)):
        with pytest.raises(db.ProgrammingError, match=r"consentry: writing public\.crm_customer\.full_name"), wrapped():
            customer = crm.Customer.objects.create(full_name="Bo Li", phone="13900000001")
            crm.Order.objects.create(customer=customer, number="R1", address="Lane number one")
    with pytest.raises(db.ProgrammingError, match="consent"):
        crm.Customer.objects.create(full_name="Bo Li", phone="13900000001")
    assert stored(tables) == before


def resave(model: str, key: int, **values: Any) -> Callable[[], Any]:
    """Loads an object and saves all of it."""

    def play() -> None:
        row = getattr(crm, model).objects.get(pk=key)
        for name, value in values.items():
            setattr(row, name, value)
        row.save()

    return play


def bulk_update(*keys: int) -> None:
    orders = list(crm.Order.objects.filter(pk__in=keys))
    for order in orders:
        order.address = "Bulk number one"
    crm.Order.objects.bulk_update(orders, ["address"])


ORDER = {"number": "N1", "address": "Lane number one"}
WRITING = r"consentry: writing public\.crm_{} is not allowed\s"
MASKED = r"consentry: the mask of public\.crm_{} may not be stored in the place of its value\s"
MANAGES = r"consentry: public\.crm_{} may only be written by a role that manages customer\s"

REFUSED: dict[str, tuple[str, Callable[[], Any], str]] = {
    "create": ("billing", lambda: crm.Order.objects.create(customer_id=3, **ORDER), WRITING.format(r"order\.address")),
    "save of what was loaded masked": (
        "billing",
        resave("Customer", 3, plan="full"),
        MASKED.format(r"customer\.full_name"),
    ),
    "save of a value over what was loaded masked": (
        "billing",
        resave("Profile", 3, mail="new@example.com"),
        WRITING.format(r"profile\.mail"),
    ),
    "save by a join": ("billing", resave("Parcel", 4, weight=2), MASKED.format(r"parcel\.greeting")),
    "save of an account's state": ("billing", resave("Customer", 1, status="closed"), MANAGES.format("customer.*")),
    "move to another customer": ("billing", resave("Order", 1, customer_id=2), MANAGES.format(r"order\.customer_id")),
    "update": (
        "billing",
        lambda: crm.Customer.objects.update(phone=None),
        WRITING.format(r"customer\.phone"),
    ),
    "bulk_create": (
        "billing",
        lambda: crm.Order.objects.bulk_create(
            [crm.Order(customer_id=3 if n == 30 else 1, number=f"B{n}", address="Lane") for n in range(40)]
        ),
        WRITING.format(r"order\.address"),
    ),
    "bulk_create, update_conflicts": (
        "billing",
        lambda: crm.Order.objects.bulk_create(
            [crm.Order(customer_id=3, number="A3", address="Lane number one")],
            update_conflicts=True,
            unique_fields=["number"],
            update_fields=["address"],
        ),
        WRITING.format(r"order\.address"),
    ),
    "bulk_update": ("billing", lambda: bulk_update(1, 3), WRITING.format(r"order\.address")),
    "get_or_create": (
        "billing",
        lambda: crm.Order.objects.get_or_create(number="N1", defaults={"customer_id": 4, "address": "Lane"}),
        WRITING.format(r"order\.address"),
    ),
    "update_or_create": (
        "billing",
        lambda: crm.Order.objects.update_or_create(number="A4", defaults={"address": "Lane number one"}),
        WRITING.format(r"order\.address"),
    ),
    "consent": (
        "billing",
        lambda: crm.Consent.objects.create(customer_id=3, purpose="billing"),
        MANAGES.format("consent"),
    ),
    "delete of a customer, whose consents Django deletes itself": (
        "billing",
        lambda: crm.Customer.objects.get(pk=1).delete(),
        MANAGES.format("consent"),
    ),
    "out of scope": (
        "support",
        lambda: crm.Order.objects.create(customer_id=1, **ORDER),
        WRITING.format(r"order\.address"),
    ),
    "no purpose": ("nobody", resave("Customer", 1, phone="137"), WRITING.format(r"customer\.(full_name|phone)")),
}


@pytest.mark.parametrize(("role", "play", "message"), REFUSED.values(), ids=REFUSED)
def test_who_may_not_write_reads_why(
    role: str, play: Callable[[], Any], message: str, proxied: As, tables: Database
) -> None:
    before = stored(tables)
    proxied(role)
    for atomic in (False, True):
        with pytest.raises(db.ProgrammingError) as raised:
            if atomic:
                with db.transaction.atomic():
                    play()
            else:
                play()
        assert raised.match(message)
        assert raised.value.__cause__.sqlstate == "42501"
        for part in ("DETAIL:", "HINT:", "Privacy office <privacy@example.com>"):
            assert part in str(raised.value)
        assert stored(tables) == before


def test_a_refusal_within_a_savepoint_leaves_the_rest(proxied: As, tables: Database) -> None:
    proxied("billing")
    with db.transaction.atomic():
        crm.Customer.objects.filter(pk=3).update(visits=7)
        with pytest.raises(db.ProgrammingError), db.transaction.atomic():
            crm.Order.objects.create(customer_id=3, **ORDER)
        crm.Order.objects.create(customer_id=1, **ORDER)
    assert tables.execute("SELECT visits FROM crm_customer WHERE id = 3") == [(7,)]
    assert tables.execute("SELECT customer_id FROM crm_order WHERE number = 'N1'") == [(1,)]


def test_migrations(directly: As, database: Database, address: tuple[str, int]) -> None:
    """By a role that may change the schema and sees what it changes: the tables are those of a direct connection."""
    assert directly
    made = []
    direct = database.postgres.host, database.postgres.port
    for route in (direct, address):
        database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION registrar")
        _use(database, *route, "registrar")
        changes.change()
        described = io.StringIO()
        management.call_command("inspectdb", stdout=described)
        made.append((described.getvalue(), database.execute("SELECT indexdef FROM pg_indexes ORDER BY 1")))
        assert "crm_label" in described.getvalue()
    assert made[0] == made[1]
    with pytest.raises(db.ProgrammingError, match=r"RENAME would take public\.crm_order\.address out from under"):
        changes.shed()
    db.connection.close()


def test_who_may_erase_empties_what_is_masked(proxied: As, tables: Database) -> None:
    proxied("billing", options="-c consentry.purpose=cleaning")
    assert crm.Profile.objects.filter(pk=3).update(mail=None) == 1
    assert tables.execute("SELECT mail FROM crm_profile WHERE customer_id = 3") == [(None,)]
