"""A real engine for tests, small enough to see through: it judges texts by their words.

``REFUSE`` is refused for ever, ``GUARDED`` unless a purpose is declared, ``SECRET`` becomes ``MASKED`` unless the
purpose is ``all``, ``BROKEN`` makes the engine raise, rows of ``checked`` are checked
(:mod:`tests.session.row_checks`). EXECUTE needs a name that is prepared. Effects are those of :mod:`proxy.sql`,
statement by statement.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event

from proxy.catalog.model import Catalog
from proxy.errors import Refusal
from proxy.journal import SessionFacts
from proxy.policy.model import Contact, Policy
from proxy.session import OwnCatalog
from proxy.verdict import (
    Begin,
    ChangeCatalog,
    Commit,
    Context,
    CreateRelation,
    Deallocate,
    DiscardAll,
    DropRelation,
    Effect,
    Prepare,
    Release,
    ResetAll,
    Rollback,
    RollbackTo,
    Savepoint,
    SetSetting,
    StatementVerdict,
    TypesVerdict,
    Verdict,
    Work,
)
from tests.session.row_checks import with_checks

POLICY = Policy("rules", "0" * 64, Contact(), {}, {}, {}, {}, {}, trusted_channels=("note", "news"))

_NAME = r'"?([\w.]+)"?'
_TRACKED = ("consentry.", "search_path", "role", "session_authorization")
_PATTERNS: tuple[tuple[str, type | str], ...] = (
    (r"(BEGIN|START TRANSACTION)\b", Begin),
    (r"ROLLBACK TO (?:SAVEPOINT )?" + _NAME, RollbackTo),
    (r"(COMMIT|END)\b(.* AND CHAIN)?", Commit),
    (r"PREPARE TRANSACTION\b()", Commit),
    (r"(ROLLBACK|ABORT)\b(.* AND CHAIN)?", Rollback),
    (r"RELEASE (?:SAVEPOINT )?" + _NAME, Release),
    (r"SAVEPOINT " + _NAME, Savepoint),
    (r"DISCARD ALL", DiscardAll),
    (r"RESET ALL", ResetAll),
    (r"RESET SESSION AUTHORIZATION", "reset authorization"),
    (r"RESET " + _NAME, "reset"),
    (r"SET (LOCAL |SESSION (?!AUTHORIZATION))?(SESSION AUTHORIZATION|[\w.]+)(?: *= *| TO | )(.+)", "set"),
    (r"SELECT (?:pg_catalog\.)?set_config\('([^']*)', *'([^']*)', *(true|false)\)", "set_config"),
    (r"PREPARE " + _NAME + r"(?:\([^)]*\))? AS (.+)", Prepare),
    (r"DEALLOCATE (?:PREPARE )?" + _NAME, Deallocate),
    (r"CREATE (TEMP )?TABLE " + _NAME, CreateRelation),
    (r"DROP TABLE " + _NAME, DropRelation),
    (r"(CREATE|ALTER|DROP)\b", ChangeCatalog),
)
_COPY_IN = re.compile(r"COPY .* FROM STDIN", re.IGNORECASE)
_COMPILED = [(re.compile(pattern, re.IGNORECASE | re.DOTALL), what) for pattern, what in _PATTERNS]


def effects(statement: str) -> tuple[Effect, ...]:
    """What ``statement`` changes when it completes."""
    for pattern, what in _COMPILED:
        match = pattern.match(statement)
        if match is not None:
            return _effects(what, match)
    return ()


def _effects(what: type | str, match: re.Match[str]) -> tuple[Effect, ...]:
    if what in (Commit, Rollback):
        return (what(chain=bool(match[match.re.groups] or "")),)  # type: ignore[operator] - both take chain
    if what in (RollbackTo, Release, Savepoint):
        return (what(match[1].lower()),)  # type: ignore[operator] - all take a name
    if what is Prepare:
        return (Prepare(match[1].lower(), match[2]),)
    if what is Deallocate:
        return (Deallocate(None if match[1].upper() == "ALL" else match[1].lower()),)
    if what is CreateRelation:
        return (CreateRelation(None if match[1] else "public", match[2].lower(), bool(match[1])), ChangeCatalog())
    if what is DropRelation:
        return (DropRelation(None, match[1].lower()), ChangeCatalog())
    if isinstance(what, str):
        return _setting(what, match)
    return (what(),)


def _setting(what: str, match: re.Match[str]) -> tuple[Effect, ...]:
    local = False
    if what == "reset authorization":
        name, value = "session_authorization", None
    elif what == "reset":
        name, value = match[1].lower(), None
    elif what == "set_config":
        name, value, local = match[1].lower(), match[2], match[3].lower() == "true"
    else:
        name = match[2].lower().replace("session authorization", "session_authorization")
        written = match[3].strip()
        value = None if written.upper() == "DEFAULT" else written.strip("'\"")
        local = (match[1] or "").strip().upper() == "LOCAL"
    return (SetSetting(name, value, local),) if name.startswith(_TRACKED) else ()


def split(text: str) -> list[str]:
    """The statements of a text; no test has a semicolon in a literal."""
    text = re.sub(r"\$\$.*?\$\$", "$body$", text, flags=re.DOTALL)
    return [
        part.strip() for part in re.sub(r"/\*.*?\*/|--[^\n]*", "", text, flags=re.DOTALL).split(";") if part.strip()
    ]


THOUGHT = Event()
"""While it is not set, decisions on texts with a literal that begins with ``LONG`` are not there."""
THOUGHT.set()


class Rules:
    """The verdicts for one context."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.known: dict[bytes, Verdict] = {}

    def authorize(self, query: bytes) -> Verdict:
        self.known[query] = verdict = self._judge(query)
        return verdict

    def work(self, query: bytes) -> Work | None:
        """Rules are quick, but for a text that asks for thought."""
        if b"'LONG" not in query or query in self.known:
            return None
        return Work(lambda: self._thought_over(query), lambda verdict: self.known.update({query: verdict}))

    def _thought_over(self, query: bytes) -> Verdict:
        assert THOUGHT.wait(20)
        return self._judge(query)

    def parameter_types(self, oids: tuple[int, ...]) -> TypesVerdict:
        return TypesVerdict(Refusal("42501", f"consentry: unknown types {oids}"), unknown=True)

    def _judge(self, query: bytes) -> Verdict:
        text = query.decode()
        purpose = self.context.settings.get("consentry.purpose")
        if "BROKEN" in text:
            raise RuntimeError("the engine is broken")
        refusal, permanent = self._refusal(text, purpose)
        if refusal is not None:
            rejected = StatementVerdict("reject", "SELECT", "?", "f", purpose)
            return Verdict(query, (rejected,), refusal, permanent)
        edits: list[tuple[int, int, int]] = []
        if purpose != "all":
            edits = [(found.start(), 6, 6) for found in re.finditer("SECRET", text)]
            text = text.replace("SECRET", "MASKED")
        kind = "mask" if edits else "pass"
        statements = tuple(
            StatementVerdict(
                kind,
                part.split()[0].upper(),
                part,
                part,
                purpose,
                effects=effects(part),
                takes_copy=bool(_COPY_IN.match(part)),
            )
            for part in split(text)
        )
        verdict = Verdict(text.encode() if edits else query, statements, edits=tuple(edits), secured=bool(edits))
        return with_checks(verdict, split(query.decode()), self.context.prepared)

    def _refusal(self, text: str, purpose: str | None) -> tuple[Refusal | None, bool]:
        if "REFUSE" in text:
            where = text.index("REFUSE") + 1
            return Refusal("42501", "consentry: refused", "because of the word", "Leave it out.", where), True
        if "GUARDED" in text and not purpose:
            return Refusal("42501", "consentry: no purpose"), False
        for execute in re.finditer(r"EXECUTE (\w+)", text, re.IGNORECASE):
            prepared = self.context.prepared.get(execute[1].lower())
            if prepared is None or "SECRET" in prepared:
                return Refusal("42501", "consentry: not prepared, or masked"), False
        return None, False


class RulesEngine:
    """Remembers every context that it was asked for, in order."""

    def __init__(self) -> None:
        self.contexts: list[Context] = []
        self._decisions: dict[object, Rules] = {}

    def check_startup(self, parameters: Mapping[str, str], policy: Policy) -> Refusal | dict[str, str]:  # noqa: ARG002 - the protocol's signature
        if "replication" in parameters:
            return Refusal("0A000", "consentry: replication is refused")
        options = re.findall(r"-c\s*([\w.]+)=(\S+)", parameters.get("options", ""))
        settings = {name.lower(): value for name, value in (*options, *parameters.items())}
        return {name: value for name, value in settings.items() if name.startswith(_TRACKED)}

    def admit(self, context: Context) -> Refusal | None:
        if context.settings.get("consentry.purpose") == "forbidden":
            return Refusal("42501", "consentry: purpose not granted")
        return None

    def decisions(self, context: Context) -> Rules:
        self.contexts.append(context)
        key = (
            tuple(sorted(context.settings.items())),
            tuple(sorted(context.prepared.items())),
            tuple(context.overlay),
            id(context.catalog),
            id(context.policy),
        )
        return self._decisions.setdefault(key, Rules(context))


@dataclass
class MemoryJournal:
    """Keeps events; raises where ``failing`` names the kind of event."""

    events: list[tuple[object, ...]] = field(default_factory=list)
    failing: str = ""
    count: int = 0

    def _write(self, kind: str, *event: object) -> None:
        if self.failing == kind:
            raise OSError(28, "No space left on device")
        self.events.append((kind, *event))

    def session_start(self, facts: SessionFacts) -> None:
        self._write("session_start", facts.role, facts.database)

    def refused_start(
        self, facts: SessionFacts, event_id: str, sqlstate: str, message: str, purpose: str | None
    ) -> None:
        self._write("refusal", event_id, facts.role, facts.database, sqlstate, message, purpose)

    def session_end(self, facts: SessionFacts, sqlstate: str | None) -> None:  # noqa: ARG002 - the protocol's signature
        self._write("session_end", sqlstate)

    def purpose_change(self, facts: SessionFacts, purpose: str | None) -> None:  # noqa: ARG002 - the protocol's signature
        self._write("purpose_change", purpose)

    def new_event_id(self) -> str:
        self.count += 1
        return f"e{self.count}"

    def statement(
        self,
        facts: SessionFacts,
        event_id: str,
        statement: StatementVerdict,
        policy: Policy,
        refusal: Refusal | None,
        subjects: tuple[tuple[str, str], ...] = (),  # noqa: ARG002 - the protocol's signature
    ) -> None:
        assert policy is not None
        said = refusal.sqlstate if refusal is not None else statement.kind
        self._write("statement", event_id, statement.normalized, said, facts.actor)

    def alarm(self, facts: SessionFacts, event_id: str | None, witness: str, found: Sequence[str]) -> None:
        assert facts.session
        self._write("alarm", event_id, witness, tuple(found))

    def conflict(
        self,
        facts: SessionFacts,
        event_id: str | None,
        table: str | None,
        constraint: str | None,
        sqlstate: str | None,
        exceeded: Sequence[str],
    ) -> None:
        assert facts.session
        self._write("conflict", event_id, table, constraint, sqlstate, tuple(exceeded))

    def result(
        self,
        facts: SessionFacts,
        event_id: str,
        rows: int | None,
        duration_ms: float,
        sqlstate: str | None,
        *,
        soon: bool = False,
    ) -> None:
        assert soon in (True, False)
        assert facts.session and duration_ms >= 0
        self._write("result", event_id, rows, sqlstate)

    def flush(self) -> None:
        """Nothing waits."""


def empty_catalog(database: str, generation: int = 1) -> Catalog:
    return Catalog(database, generation, 180000, {}, {}, frozenset({"public", "pg_catalog"}), {}, {}, {}, {})


class StaticCatalogs:
    """Catalogs that grow a generation at each reload. ``reloads`` counts them, ``uses`` is by database."""

    def __init__(self) -> None:
        self.catalogs: dict[str, Catalog] = {}
        self.reloads = 0
        self.uses: Counter[str] = Counter()

    async def catalog(self, database: str) -> Catalog:
        self.uses[database] += 1
        return self.load(database)

    def release(self, database: str) -> None:
        self.uses[database] -= 1

    async def reload(self, database: str) -> Catalog:
        return self.load(database, anew=True)

    def load(self, database: str, anew: bool = False) -> Catalog:
        before = self.catalogs.get(database)
        if before is None or anew:
            self.reloads += anew
            self.catalogs[database] = empty_catalog(database, 1 if before is None else before.generation + 1)
        return self.catalogs[database]

    def current(self, database: str) -> Catalog:
        return self.catalogs[database]

    def own(self, database: str) -> OwnCatalog:
        message = f"only what is shared of {database} is known here"
        raise LookupError(message)


@dataclass
class FixedPolicy:
    policy: Policy = POLICY

    def of(self, database: str) -> Policy | None:
        return None if database == "nobody's" else self.policy
