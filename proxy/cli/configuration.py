"""What ``consentry serve`` was told: flags, else environment, else file; validated together, with a place for each
mistake.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from proxy.cli.address import Upstream
from proxy.cli.configuration_file import UNAVAILABLE, ConfigurationFile
from proxy.cli.tls_keys import Auth, TlsReading
from proxy.policy.diagnostic import Diagnostic, Position, Severity, did_you_mean
from proxy.policy.document import Map, locate, parse
from proxy.policy.validate import describe
from proxy.server.certificates import ClientTls, UpstreamTls
from proxy.server.options import Address

ENVIRONMENT = {
    "listen": "CONSENTRY_LISTEN",
    "upstream": "CONSENTRY_UPSTREAM",
    "policy": "CONSENTRY_POLICY",
    "audit": "CONSENTRY_AUDIT",
    "admin": "CONSENTRY_ADMIN",
    "mode": "CONSENTRY_MODE",
    "workers": "CONSENTRY_WORKERS",
    "watch": "CONSENTRY_WATCH",
}
"""The variable of each setting that is also a flag."""
CONFIG, HASH_KEY, AUDIT_KEY = "CONSENTRY_CONFIG", "CONSENTRY_HASH_KEY", "CONSENTRY_AUDIT_KEY"
MAX_FILE = 1 << 20
MIN_KEY = 16

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "a mapping",
    "dataclass_exact_type": "text",
    "bool_type": "true or false",
}
_SENTENCES = {
    "string_too_short": "may not be empty",
    "too_short": "needs at least {min_length}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Everything that ``serve`` needs. ``audit`` is a path or ``-``; paths of the file are relative to its folder.

    A key that is None was not given: the hash chain then has none, and pseudonyms get a random one at each start.
    """

    listen: Address
    upstream: Upstream
    policy: Path | None
    policies: Mapping[str, Path] = field(default_factory=dict)
    watch: bool = False
    admin: Address | None = None
    mode: Literal["enforce", "observe"] = "enforce"
    workers: int = 1
    audit: str
    audit_key: bytes | None
    hash_key: bytes | None
    catalog_dsn: str | None
    catalog_refresh: timedelta
    startup_timeout: timedelta
    statement_bytes: int
    message_bytes: int
    connections: int | None
    connections_per_role: int | None
    idle_timeout: timedelta | None
    snapshot_age: timedelta | None = None
    verify: Literal["plan", "off"]
    client_tls: ClientTls | None = None
    upstream_tls: UpstreamTls | None = None
    auth: Auth = "upstream"


class InvalidConfiguration(Exception):
    """Carries every mistake that was found."""

    def __init__(self, diagnostics: list[Diagnostic]) -> None:
        super().__init__("\n".join(map(str, diagnostics)))
        self.diagnostics = diagnostics


def load(flags: Mapping[str, Any], environment: Mapping[str, str]) -> Configuration:
    """The configuration out of ``flags`` (None: not given), variables and the file that ``config`` or CONSENTRY_CONFIG
    names. An empty variable is as good as none. Raises :class:`InvalidConfiguration`.
    """
    source = flags.get("config") or environment.get(CONFIG)
    reading = _Reading(Path(source) if source else None)
    for key, variable in ENVIRONMENT.items():
        if flags.get(key) is not None:
            reading.override(key, flags[key], f"--{key}")
        elif environment.get(variable):
            reading.override(key, environment[variable], variable)
    return reading.configuration(environment)


@dataclass(slots=True)
class _Reading:
    """One configuration in the making. ``overridden``: for each key that the file does not decide, what does."""

    file: Path | None
    tree: Map = field(default_factory=Map)
    overridden: dict[str, str] = field(default_factory=dict)
    found: list[Diagnostic] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.file is None:
            return
        try:
            raw = self.file.read_bytes()
            text = raw.decode("utf-8-sig")
        except OSError as error:
            self.problem(Position(), "file", f"cannot be read: {error.strerror}")
            return
        except UnicodeDecodeError:
            self.problem(Position(), "syntax", "the file is not UTF-8")
            return
        document = parse(text)
        for position, code, message in document.problems:
            self.problem(position, code, message)
        if isinstance(document.root, Map):
            self.tree = document.root
        elif document.root is not None:
            self.problem(document.here, "wrong-type", f"a configuration is a mapping, found {describe(document.root)}")

    def override(self, key: str, value: Any, source: str) -> None:
        """A flag or variable decides ``key``; ``audit`` is the file's ``audit.sinks``."""
        self.overridden[key] = source
        if key == "watch" and isinstance(value, str):
            value = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}.get(value, value)
        if key == "workers" and isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value)
        if key != "audit":
            self.tree[key] = value
        elif isinstance(self.tree.setdefault("audit", Map()), Map):
            self.tree["audit"]["sinks"] = [value]

    def configuration(self, environment: Mapping[str, str]) -> Configuration:
        unknown: list[tuple[Position, str, list[str]]] = []
        values = None
        try:
            values = ConfigurationFile.model_validate(self.tree, context=unknown)
        except ValidationError as error:
            for details in error.errors(include_url=False):
                self.invalid(details)
        for position, key, known in unknown:
            self.problem(position, "unknown-key", f"'{key}' is not a key here{did_you_mean(key, known)}")
        hash_key = self.key("hash_key", environment.get(HASH_KEY), HASH_KEY)
        audit_key = self.key("audit.key", environment.get(AUDIT_KEY), AUDIT_KEY)
        self.check_policies()
        client_tls, upstream_tls = (None, None) if values is None else self.tls(values)
        if values is None or self.found:
            raise InvalidConfiguration(sorted(set(self.found)))
        sink = values.audit.sinks[0]
        own = dict(values.policies)
        everywhere = values.policy or own.get("*")
        own.pop("*", None)
        return Configuration(
            listen=values.listen,
            upstream=values.upstream,
            policy=None if everywhere is None else self.path("policy", everywhere),
            policies={database: self.path("policies", path) for database, path in own.items()},
            watch=values.watch,
            admin=values.admin,
            mode=values.mode,
            workers=values.workers,
            audit=sink if sink == "-" else str(self.path("audit", sink)),
            audit_key=audit_key,
            hash_key=hash_key,
            catalog_dsn=values.catalog.dsn,
            catalog_refresh=values.catalog.refresh,
            startup_timeout=values.limits.startup_timeout,
            statement_bytes=values.limits.statement_bytes,
            message_bytes=values.limits.message_bytes,
            connections=values.limits.connections,
            connections_per_role=values.limits.connections_per_role,
            idle_timeout=values.limits.idle_timeout,
            snapshot_age=values.limits.snapshot_age,
            verify=values.verify,
            client_tls=client_tls,
            upstream_tls=upstream_tls,
            auth=values.auth,
        )

    def tls(self, values: ConfigurationFile) -> tuple[ClientTls | None, UpstreamTls | None]:
        """TLS of either side; its files are read here to find out whether they can be."""

        def report(key: str, code: str, message: str) -> None:
            source = self.overridden.get(key)
            self.problem(Position() if source else locate(self.tree, key.split(".")), code, message, source)

        return TlsReading(values.tls, values.upstream, self.path, report).read(values.auth, values.catalog.dsn)

    def check_policies(self) -> None:
        """One file for each database, and no two for the others."""
        everywhere, own = self.tree.get("policy"), self.tree.get("policies")
        if everywhere is None and not own:
            variable = ENVIRONMENT["policy"]
            self.problem(Position(), "missing-key", f"'policy' is missing (--policy and {variable} set it too)")
        if everywhere is not None and isinstance(own, Map) and "*" in own and "policy" not in self.overridden:
            position = locate(self.tree, ["policies", "*"])
            self.problem(position, "bad-value", "policies.*: 'policy' says already what holds everywhere else")

    def path(self, key: str, value: str) -> Path:
        """A path of the file is relative to the file, one of a flag or variable to the working directory."""
        return Path(value) if key in self.overridden or self.file is None else self.file.parent / value

    def key(self, key: str, variable: str | None, name: str) -> bytes | None:
        """A secret: the text of the variable, else the contents of the file that ``key`` names, without the newline."""
        if variable:
            secret, place = variable.encode(errors="surrogateescape"), (name, Position())
        else:
            path: Any = self.tree
            for step in key.split("."):
                path = path.get(step) if isinstance(path, Map) else None
            if not isinstance(path, str) or not path:
                return None
            place = (str(self.file), locate(self.tree, key.split(".")))
            try:
                secret = self.path(key, path).read_bytes().rstrip(b"\r\n")
            except OSError as error:
                self.problem(place[1], "file", f"{key}: {path} cannot be read: {error.strerror}")
                return None
        if len(secret) < MIN_KEY:
            self.problem(place[1], "bad-value", f"a key of less than {MIN_KEY} bytes can be guessed", place[0])
        return secret

    def invalid(self, details: ErrorDetails) -> None:
        """One of pydantic's errors, with its place."""
        kind, loc = details["type"], [step for step in details["loc"] if isinstance(step, str | int)]
        where = ".".join(str(step) for step in loc if isinstance(step, str))
        if kind == "extra_forbidden":
            return
        # A flag or variable for `audit` decides its sinks, and nothing else of it.
        whole = loc[:1] != ["audit"] or loc[:2] == ["audit", "sinks"]
        source = self.overridden.get(str(loc[0])) if loc and whole else None
        position = Position() if source else locate(self.tree, loc)
        if kind == "missing":
            variable = ENVIRONMENT.get(where)
            also = f" (--{where} and {variable} set it too)" if variable else ""
            self.problem(position, "missing-key", f"'{where}' is missing{also}", source)
        elif kind in _EXPECTED:
            self.problem(position, "wrong-type", f"{where} takes {_EXPECTED[kind]}", source)
        else:
            self.problem(position, _code(details), f"{where}: {_reason(details)}", source)

    def problem(self, position: Position, code: str, message: str, source: str | None = None) -> None:
        path = source or (str(self.file) if self.file else "consentry")
        self.found.append(Diagnostic(path, position.line, position.column, Severity.ERROR, code, message))


def _code(details: ErrorDetails) -> str:
    return "unavailable" if details["msg"].endswith(UNAVAILABLE) else "bad-value"


def _reason(details: ErrorDetails) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"is one of {context['expected']}"
    return _SENTENCES[kind].format(**context) if kind in _SENTENCES else details["msg"]
