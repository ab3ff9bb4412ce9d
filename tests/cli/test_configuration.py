"""Flags over environment over file, and a place for every mistake."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from proxy.cli.address import Upstream
from proxy.cli.configuration import ENVIRONMENT, Configuration, InvalidConfiguration, load
from proxy.server.options import Address

NEEDED = "upstream: postgresql://db\npolicy: policy.yaml\n"


def loaded(
    folder: Path,
    text: str,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Configuration:
    file = folder / "consentry.yaml"
    file.write_text(text, encoding="utf-8")
    return load({"config": str(file), **(flags or {})}, environment or {})


def mistakes(
    folder: Path,
    text: str,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> list[str]:
    with pytest.raises(InvalidConfiguration) as error:
        loaded(folder, text, flags, environment)
    return [str(diagnostic).removeprefix(f"{folder}/") for diagnostic in error.value.diagnostics]


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    assert loaded(tmp_path, NEEDED) == Configuration(
        listen=Address("127.0.0.1", 6432),
        upstream=Upstream(Address("db", 5432)),
        policy=tmp_path / "policy.yaml",
        audit="-",
        audit_key=None,
        hash_key=None,
        catalog_dsn=None,
        catalog_refresh=timedelta(seconds=1),
        startup_timeout=timedelta(seconds=60),
        statement_bytes=16 << 20,
        message_bytes=1 << 30,
        connections=None,
        connections_per_role=None,
        idle_timeout=None,
        verify="plan",
    )


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "hash.key").write_bytes(b"sixteen bytes ok\n")
    (tmp_path / "audit.key").write_bytes(b"another sixteen ones\r\n")
    text = """
        listen: '[::]:7000'
        upstream: postgresql://reader@db:5433
        policy: /etc/policy.yaml
        mode: observe
        policies: {crm: crm.yaml}
        watch: true
        admin: 127.0.0.1:9100
        workers: 4
        audit: {sinks: [log/audit.jsonl], key: audit.key}
        limits:
          {startup_timeout: 5 seconds, statement_bytes: 1048576, message_bytes: 2097152,
           connections: 50, connections_per_role: 9, idle_timeout: 1 hour,
           snapshot_age: 2 hours}
        catalog: {dsn: postgresql://owner@db/crm, refresh: 2 minutes}
        verify: off
        hash_key: hash.key
    """
    assert loaded(tmp_path, text) == Configuration(
        listen=Address("::", 7000),
        upstream=Upstream(Address("db", 5433), "reader"),
        policy=Path("/etc/policy.yaml"),
        policies={"crm": tmp_path / "crm.yaml"},
        watch=True,
        mode="observe",
        admin=Address("127.0.0.1", 9100),
        workers=4,
        audit=str(tmp_path / "log" / "audit.jsonl"),
        audit_key=b"another sixteen ones",
        hash_key=b"sixteen bytes ok",
        catalog_dsn="postgresql://owner@db/crm",
        catalog_refresh=timedelta(minutes=2),
        startup_timeout=timedelta(seconds=5),
        statement_bytes=1 << 20,
        message_bytes=2 << 20,
        connections=50,
        connections_per_role=9,
        idle_timeout=timedelta(hours=1),
        snapshot_age=timedelta(hours=2),
        verify="off",
    )


def test_flags_win_over_environment_which_wins_over_the_file(tmp_path: Path) -> None:
    text = NEEDED + "listen: file:1\naudit: {sinks: [file.jsonl]}\n"
    environment = {"CONSENTRY_LISTEN": "environment:2", "CONSENTRY_AUDIT": "environment.jsonl"}
    flags = {"listen": "flag:3", "audit": "flag.jsonl"}
    for given, expected in (
        (({}, {}), ("file", str(tmp_path / "file.jsonl"))),
        (({}, environment), ("environment", "environment.jsonl")),
        ((flags, environment), ("flag", "flag.jsonl")),
        ((dict.fromkeys(flags), dict.fromkeys(environment, "")), ("file", str(tmp_path / "file.jsonl"))),
    ):
        configuration = loaded(tmp_path, text, *given)
        assert (configuration.listen.host, configuration.audit) == expected


def test_a_flag_stands_in_for_a_mistake_of_the_file(tmp_path: Path) -> None:
    assert loaded(tmp_path, "upstream: nonsense\npolicy: p", {"upstream": "postgresql://db"}).policy.name == "p"


def test_no_file_is_needed() -> None:
    flags = {"upstream": "postgresql://db", "policy": "p.yaml"}
    assert load(flags, {"CONSENTRY_WORKERS": "1"}).policy == Path("p.yaml")


def test_the_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(NEEDED)
    assert load({}, {"CONSENTRY_CONFIG": str(file)}).policy == tmp_path / "policy.yaml"


MISTAKES = {
    "nothing": ("", "1:1: error: missing-key: 'policy' is missing (--policy and CONSENTRY_POLICY set it too)"),
    "no mapping": ("[1]", "1:1: error: wrong-type: a configuration is a mapping, found a list"),
    "no YAML": ("listen: [", "1:10: error: syntax: "),
    "a key twice": ("mode: enforce\nmode: enforce", "4:1: error: duplicate-key: 'mode' already stands in line 3"),
    "an unknown key": ("lisen: a:1", "3:1: error: unknown-key: 'lisen' is not a key here; did you mean 'listen'?"),
    "an unknown key below": ("limits: {conections: 1}", "3:10: error: unknown-key: 'conections' is not a key here"),
    "a wrong type": ("workers: many", "3:10: error: wrong-type: workers takes a whole number"),
    "text for a mapping": ("audit: yes", "3:8: error: wrong-type: audit takes a mapping"),
    "no list": ("audit: {sinks: a}", "3:16: error: wrong-type: audit.sinks takes a list"),
    "no sinks": ("audit: {sinks: []}", "3:16: error: bad-value: audit.sinks: needs at least 1"),
    "a number for an address": ("listen: 6432", "3:9: error: wrong-type: listen takes text"),
    "a bad address": ("listen: localhost", "3:9: error: bad-value: listen: an address is HOST:PORT"),
    "a bad mode": ("mode: enforced", "3:7: error: bad-value: mode: is one of 'enforce' or 'observe'"),
    "a bad duration": ("catalog: {refresh: 1s}", "3:20: error: bad-value: catalog.refresh: a duration is"),
    "a small limit": ("limits: {statement_bytes: 9}", "3:27: error: bad-value: limits.statement_bytes: must be at"),
    "a key that is not there": ("hash_key: none.key", "3:11: error: file: hash_key: none.key cannot be read: No"),
    "a key that is short": ("hash_key: short.key", "3:11: error: bad-value: a key of less than 16 bytes"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_has_its_place(tmp_path: Path, what: str) -> None:
    (tmp_path / "short.key").write_text("short")
    text, expected = MISTAKES[what]
    whole = what in {"nothing", "no mapping", "no YAML"}
    found = mistakes(tmp_path, text if whole else NEEDED + text)
    assert any(line.startswith(f"consentry.yaml:{expected}") for line in found), found


UNAVAILABLE = {
    "audit: {durability: strict}": "audit.durability",
    "audit: {sinks: [a, b]}": "audit.sinks",
}


@pytest.mark.parametrize("text", UNAVAILABLE)
def test_what_does_nothing_yet_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    (found,) = mistakes(tmp_path, NEEDED + text)
    assert found.startswith("consentry.yaml:3:")
    assert f"error: unavailable: {UNAVAILABLE[text]}: " in found
    assert found.endswith("not available in this version")


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    text = "lisen: x\nmode: maybe\naudit: {durability: strict, sink: x}\n"
    codes = [line.split(": ")[2] for line in mistakes(tmp_path, text, {"listen": "x"})]
    assert codes.count("missing-key") == 2
    assert {"unknown-key", "bad-value", "unavailable"} < set(codes)


@pytest.mark.parametrize(
    ("flags", "environment", "expected"),
    [
        ({"listen": "x"}, {}, "--listen:1:1: error: bad-value: listen: an address"),
        ({}, {"CONSENTRY_LISTEN": "x"}, "CONSENTRY_LISTEN:1:1: error: bad-value: listen: an address"),
        ({}, {"CONSENTRY_WORKERS": "x"}, "CONSENTRY_WORKERS:1:1: error: wrong-type: workers takes a whole number"),
        ({"workers": 0}, {}, "--workers:1:1: error: bad-value: workers: must be at least 1"),
        ({"admin": "a"}, {}, "--admin:1:1: error: bad-value: admin"),
        ({"audit": ""}, {}, "--audit:1:1: error: bad-value: audit.sinks: may not be empty"),
        ({}, {"CONSENTRY_HASH_KEY": "short"}, "CONSENTRY_HASH_KEY:1:1: error: bad-value: a key of less than 16 bytes"),
    ],
)
def test_a_mistake_of_a_flag_or_variable_names_it(
    tmp_path: Path, flags: dict[str, Any], environment: dict[str, str], expected: str
) -> None:
    (found,) = mistakes(tmp_path, NEEDED, flags, environment)
    assert found.startswith(expected)


def test_a_file_that_cannot_be_read() -> None:
    with pytest.raises(InvalidConfiguration, match=r"/nowhere/c.yaml:1:1: error: file: cannot be read: No such file"):
        load({"config": "/nowhere/c.yaml"}, {})


def test_keys_of_the_environment_win_over_files(tmp_path: Path) -> None:
    environment = {"CONSENTRY_HASH_KEY": "h" * 16, "CONSENTRY_AUDIT_KEY": "a" * 16}
    configuration = loaded(tmp_path, NEEDED + "hash_key: none.key", environment=environment)
    assert (configuration.hash_key, configuration.audit_key) == (b"h" * 16, b"a" * 16)


def test_every_flag_but_the_file_itself_has_a_variable() -> None:
    assert set(ENVIRONMENT) == {"listen", "upstream", "policy", "audit", "admin", "mode", "workers", "watch"}


def test_a_policy_for_each_database(tmp_path: Path) -> None:
    found = loaded(tmp_path, "upstream: postgresql://db\npolicies: {crm: crm.yaml, '*': rest.yaml}\n")
    assert (found.policy, found.policies) == (tmp_path / "rest.yaml", {"crm": tmp_path / "crm.yaml"})
    found = loaded(tmp_path, "upstream: postgresql://db\npolicies: {crm: crm.yaml}\n")
    assert (found.policy, found.policies) == (None, {"crm": tmp_path / "crm.yaml"})
    both = "upstream: postgresql://db\npolicy: p.yaml\npolicies: {'*': rest.yaml}\n"
    assert mistakes(tmp_path, both) == [
        "consentry.yaml:3:17: error: bad-value: policies.*: 'policy' says already what holds everywhere else"
    ]
    assert loaded(tmp_path, both, {"policy": "flag.yaml"}).policy == Path("flag.yaml")
