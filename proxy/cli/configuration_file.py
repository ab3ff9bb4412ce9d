"""The configuration file as pydantic models: every key, its type and what it means.

An ``Unavailable`` key belongs to the format and does nothing yet: to name it is an error, never silently accepted.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from proxy.cli.address import Upstream, read_listen, read_upstream
from proxy.cli.tls_keys import Auth, TlsKeys
from proxy.policy.schema import Form
from proxy.policy.values import Duration, Text
from proxy.server.options import Address

UNAVAILABLE = "not available in this version"


def _unavailable(_: Any) -> None:
    raise ValueError(UNAVAILABLE)


def _one_sink(sinks: list[str]) -> list[str]:
    if len(sinks) > 1:
        raise ValueError(f"more than one sink is {UNAVAILABLE}")
    return sinks


def _from_text(read: Any) -> Any:
    def validate(value: Any) -> Any:
        return read(value) if isinstance(value, str) else value

    return BeforeValidator(validate)


Unavailable = Annotated[None, PlainValidator(_unavailable)]


class AuditKeys(Form):
    """Where the audit goes."""

    sinks: Annotated[list[Text], Field(min_length=1), AfterValidator(_one_sink)] = Field(default_factory=lambda: ["-"])
    """The file that takes every event; ``-`` is standard output."""
    key: Text | None = None
    """A file with the key of the hash chain."""
    durability: Unavailable = None
    """When an event counts as written."""


class LimitKeys(Form):
    """What one client may use up."""

    startup_timeout: Duration = timedelta(seconds=60)
    """How long a client may take to log in."""
    statement_bytes: int = Field(default=16 << 20, ge=1024, le=1 << 30)
    """The largest statement."""
    message_bytes: int = Field(default=1 << 30, ge=1024, le=1 << 30)
    """The largest message."""
    connections: int | None = Field(default=None, ge=1)
    """How many clients at once."""
    connections_per_role: int | None = Field(default=None, ge=1)
    """How many clients of one role at once."""
    idle_timeout: Duration | None = None
    """How long a session may do nothing."""
    snapshot_age: Duration | None = None
    """How old the snapshot of a transaction may grow."""


class CatalogKeys(Form):
    """How the upstream's catalog is read."""

    dsn: Text | None = None
    """The URL of the connection that reads it."""
    refresh: Duration = timedelta(seconds=1)
    """How often it looks for changes that were made beside consentry."""


class ConfigurationFile(Form):
    """The whole file."""

    listen: Annotated[Address, _from_text(read_listen)] = Address("127.0.0.1", 6432)
    """Where clients connect."""
    upstream: Annotated[Upstream, _from_text(read_upstream)]
    """The PostgreSQL server."""
    policy: Text | None = None
    """The policy file."""
    policies: dict[Text, Text] = Field(default_factory=dict)
    """The policy file of each database that has its own; ``*`` is that of the others."""
    watch: bool = False
    """Whether a change of the policy files reloads them."""
    mode: Literal["enforce", "observe"] = "enforce"
    """Whether decisions are enforced, or only logged."""
    workers: int = Field(default=1, ge=1, le=1024)
    """How many processes serve."""
    audit: AuditKeys = AuditKeys()
    """Where the audit goes."""
    limits: LimitKeys = LimitKeys()
    """What one client may use up."""
    catalog: CatalogKeys = CatalogKeys()
    """How the upstream's catalog is read."""
    verify: Literal["plan", "off"] = "plan"
    """Whether the upstream's plan of each new statement is checked."""
    hash_key: Text | None = None
    """A file with the key that pseudonyms are made with."""
    admin: Annotated[Address | None, _from_text(read_listen)] = None
    """Where metrics and health are served."""
    tls: TlsKeys = TlsKeys()
    """TLS towards clients and towards the upstream."""
    auth: Auth = "upstream"
    """Who authenticates clients."""
