"""What the engine says of a client's statement text: the contract between engine, session and audit. Data only.

The engine makes a :class:`Verdict` for one (text, :class:`Context`); the session obeys it, applies each statement's
:data:`Effect` when the upstream says that it completed, and has it written to the audit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Protocol

from proxy.catalog.model import Catalog, Relation
from proxy.copying import CopyCheck
from proxy.errors import Refusal
from proxy.policy.model import Policy

# --- effects: what a completed statement changes in the session ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SetSetting:
    """SET, RESET (``value`` None) or set_config of a tracked setting. ``local``: until the transaction's end."""

    name: str
    value: str | None
    local: bool = False


@dataclass(frozen=True, slots=True)
class ResetAll:
    """RESET ALL: every setting but role and session_authorization, as a SET of each start value."""


@dataclass(frozen=True, slots=True)
class DiscardAll:
    """DISCARD ALL: settings and roles back to start values, prepared statements, temporary tables and cursors gone."""


@dataclass(frozen=True, slots=True)
class Begin:
    """BEGIN, START TRANSACTION; a COMMIT or ROLLBACK AND CHAIN brings one with it (``chain``)."""


@dataclass(frozen=True, slots=True)
class Isolate:
    """The isolation level of the transaction under way, or by default of those that begin later in the ``session``:
    ``level`` as PostgreSQL writes it (``repeatable read``); None: back to what the session started with."""

    level: str | None
    session: bool = False


@dataclass(frozen=True, slots=True)
class Commit:
    """COMMIT, END, PREPARE TRANSACTION. A command tag of ROLLBACK means that it was a rollback."""

    chain: bool = False


@dataclass(frozen=True, slots=True)
class Rollback:
    chain: bool = False


@dataclass(frozen=True, slots=True)
class Savepoint:
    name: str


@dataclass(frozen=True, slots=True)
class RollbackTo:
    name: str


@dataclass(frozen=True, slots=True)
class Release:
    name: str


@dataclass(frozen=True, slots=True)
class Prepare:
    """SQL PREPARE: ``name`` now stands for ``text`` (the statement after AS). ``sent``: what went upstream for it, if
    that was another text."""

    name: str
    text: str
    sent: str | None = None


@dataclass(frozen=True, slots=True)
class Deallocate:
    """SQL DEALLOCATE; ``name`` None means ALL."""

    name: str | None


@dataclass(frozen=True, slots=True)
class Declare:
    """DECLARE: the cursor ``name`` now gives the rows of ``text``, the whole statement with its comments. ``hold``:
    beyond the transaction (WITH HOLD)."""

    name: str
    text: str
    hold: bool = False


@dataclass(frozen=True, slots=True)
class CloseCursor:
    """CLOSE of a cursor or portal; ``name`` None means ALL."""

    name: str | None


@dataclass(frozen=True, slots=True)
class CreateRelation:
    """CREATE TABLE and the like made a plain relation that the shared catalog does not know before COMMIT.

    ``passing``: ON COMMIT DROP.
    """

    schema: str | None
    name: str
    temporary: bool
    passing: bool = False


@dataclass(frozen=True, slots=True)
class DropRelation:
    """DROP TABLE and the like of a relation that this session created (temporary or uncommitted)."""

    schema: str | None
    name: str


@dataclass(frozen=True, slots=True)
class ChangeCatalog:
    """DDL: the catalog must be read anew before the next statement is decided (at COMMIT inside a transaction).

    ``code``: it may have made a function, operator, view, trigger or the like, which nobody can judge before the
    session's own catalog was read. ``temporary``: it may have made something temporary beside tables. ``redirects``:
    statements that were judged before would run other code, so none may be under way when it becomes effective.
    """

    code: bool = False
    temporary: bool = False
    redirects: bool = False


Effect = (
    SetSetting
    | ResetAll
    | DiscardAll
    | Begin
    | Isolate
    | Commit
    | Rollback
    | Savepoint
    | RollbackTo
    | Release
    | Prepare
    | Deallocate
    | Declare
    | CloseCursor
    | CreateRelation
    | DropRelation
    | ChangeCatalog
)

# --- context: what a verdict depends on beside the text --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Context:
    """Everything beside the text that a verdict depends on. Hashable by value but for catalog, policy (by identity).

    ``role`` is the role that logged in (session_user as the upstream says it); ``current_role`` what SET ROLE made of
    it. ``settings`` holds the tracked settings now in force. ``overlay`` holds relations that only this session sees:
    temporary tables under schema ``pg_temp``, uncommitted tables under their own. ``purpose_source`` is how
    ``consentry.purpose`` came to be: ``startup`` or ``setting``; None where it is not set.
    ``prepared`` is what SQL EXECUTE may name: name to client text, of SQL PREPARE and of protocol Parse alike.
    """

    database: str
    role: str
    current_role: str
    settings: Mapping[str, str]
    purpose_source: Literal["startup", "setting"] | None
    catalog: Catalog
    policy: Policy
    start: Mapping[str, str] = field(default_factory=dict)
    """The tracked settings as the session started with them: what RESET goes back to."""
    dirty: bool = False
    """Some tracked setting was changed in the transaction under way, so COMMIT or ROLLBACK may change it again."""
    uncommitted_code: bool = False
    """A ``ChangeCatalog(code=True)`` completed in the transaction under way."""
    overlay: Mapping[tuple[str, str], Relation | None] = field(default_factory=dict)
    prepared: Mapping[str, str] = field(default_factory=dict)
    prepared_stale: frozenset[str] = frozenset()
    """Those in which names mean other relations than they did when the upstream read them."""
    cursors: Mapping[str, str] = field(default_factory=dict)
    """The client's texts of cursors and portals, by name."""
    prepared_sent: Mapping[str, str] = field(default_factory=dict)
    """What the upstream has under the name, where that is another text than the client's."""


@dataclass(frozen=True, slots=True)
class TypesVerdict:
    """What to do with a Parse that declares these types of parameters: a Bind runs their input functions.

    ``unknown``: the refusal is due to types that the catalog does not show; a newer one may.
    """

    refusal: Refusal | None = None
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """A decision that takes long. ``make`` may be called in any thread; ``take`` is given what it returns, in that of
    the sessions, and has it remembered as far as it still holds."""

    make: Callable[[], Verdict]
    take: Callable[[Verdict], None]


class Decisions(Protocol):
    """The verdicts for one context. ``known`` is the hot path: one look-up by the client's exact bytes.

    ``authorize`` decides, remembers and never raises: an error while deciding is a refusal. ``known`` may be emptied at
    any time (memory bound, a suspension beginning), so hold Decisions, not ``known``.
    """

    known: dict[bytes, Verdict]

    def authorize(self, query: bytes) -> Verdict: ...

    def work(self, query: bytes) -> Work | None:
        """What is to be done before ``authorize`` has the answer at once; None where it has, or takes little time."""
        ...

    def parameter_types(self, oids: tuple[int, ...]) -> TypesVerdict:
        """May values be converted to these types (none of them PostgreSQL's own)? Remembered."""
        ...


class Engine(Protocol):
    """Decides; does no I/O. Implemented by :mod:`proxy.engine`."""

    def check_startup(self, parameters: Mapping[str, str], policy: Policy) -> Refusal | dict[str, str]:
        """Judges a StartupMessage's parameters (``options`` included) before anything is sent upstream.

        Returns the tracked settings that they declare, or why the session may not start.
        """
        ...

    def admit(self, context: Context) -> Refusal | None:
        """Judges the session once its true role is known: are its purpose, its way of declaring, the code of its start
        allowed?"""
        ...

    def decisions(self, context: Context) -> Decisions:
        """The verdicts for ``context``; the same object for equal contexts while it is cached. Call it when the context
        changes, not for each statement.
        """
        ...


TOO_MANY_LEFT: Final = "full"
"""Stands for the number of a check, where no more can be left to the transaction's commit."""

# --- verdict ----------------------------------------------------------------------------------------------------------

Kind = Literal["pass", "allow", "mask", "reject"]

Origins = frozenset[tuple[int, int]]
"""Columns as a RowDescription names where they come from: OID of the relation, number of the attribute."""


@dataclass(frozen=True, slots=True)
class ColumnUse:
    """One classified column that a statement reads or writes, with its decision: an entry of an event's ``columns``."""

    column: str
    category: str
    sensitivity: str
    use: str
    decision: str
    reasons: tuple[str, ...]
    rule: str | None


@dataclass(frozen=True, slots=True)
class DeferredCheck:
    """A check of rows that is left to the transaction's commit, as a deferred constraint is.

    ``sql`` is one SELECT over the rows that were left to it (none is no failure). It fails with ``<secret>:<id>`` in
    its error where one of them does not meet its conditions, and then ``refusal`` is what the client is told.
    """

    id: str
    sql: str
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class StatementVerdict:
    """One statement of a text. ``tag`` is its kind (``SELECT``). ``normalized`` has ``?`` for every literal and no
    comments; ``fingerprint`` names its shape. ``purpose`` is the purpose in force for it, None if none.
    ``subjects``: (kind, key as text) named by the statement, to be logged as keyed hashes only.
    """

    kind: Kind
    tag: str
    normalized: str
    fingerprint: str
    purpose: str | None
    columns: tuple[ColumnUse, ...] = ()
    subjects: tuple[tuple[str, str], ...] = ()
    bound_subjects: tuple[tuple[str, int], ...] = ()
    """(kind, n) of each subject whose key is the value of parameter ``$n``."""
    effects: tuple[Effect, ...] = ()
    cursor: str | None = None
    """The cursor that it reads from by name (FETCH, MOVE), as long as nobody looked up what that shows."""
    unverified: bool = False
    """It runs only because the role has ``code: true``: nobody judged what it does."""
    raw_origins: Origins = frozenset()
    """The classified columns that a result may name as where a column of it comes from: those shown as they are."""
    takes_copy: bool = False
    """It is a COPY FROM STDIN: unless it fails, the upstream asks for data before it completes."""
    checked: Literal["", "rows", "column"] = ""
    """The text's RETURNING carries a check of the rows written. ``rows``: the client asked for no result, so its
    description and rows are dropped and no row limit applies. ``column``: the last column of the result is the check's
    and is cut off."""
    copying: CopyCheck | None = None
    """It is a COPY FROM STDIN whose rows are checked. Alone in its text."""
    deferred: tuple[DeferredCheck, ...] = ()
    """What must hold when the transaction commits, if this completes. Only in a text to be run within a block."""
    conflicts: Literal["", "fails", "skips", "skips one"] = ""
    """A constraint may tell it of values that the session does not see: by an error; or where ON CONFLICT DO NOTHING
    leaves rows out, which the command tag tells where it is of ``one``."""
    ending: tuple[DeferredCheck, ...] = ()
    """What must hold once this is done, outside of a block, before the client hears that it completed."""

    @property
    def plain(self) -> bool:
        """It gives its result, and that is all."""
        return not (
            self.effects
            or self.cursor is not None
            or self.takes_copy
            or self.checked
            or self.copying is not None
            or self.deferred
            or self.ending
        )


@dataclass(frozen=True, slots=True)
class Probe:
    """One statement that the upstream is to plan, and not to run: ``PREPARE name (types) text``, under ``search_path``.

    ``types``: OIDs, 0 for what is to be inferred; none where ``text`` declares them. ``parameters``: how many there
    are. ``judge`` gives the relations that EXPLAIN's JSON scans in a way that was not decided.
    """

    search_path: str
    types: tuple[int, ...]
    text: str
    parameters: int
    judge: Callable[[object], tuple[str, ...]]


class PlanCheck(Protocol):
    """What the upstream's plan of a secured text is held against before that first runs, and what came of it.

    ``types`` are the OIDs of the parameters as a Parse declares them (4 bytes each), empty for a simple query.
    """

    def outcome(self, text: bytes, types: bytes) -> tuple[str, ...] | None:
        """The relations that are scanned in a way that was not decided; None where nobody looked yet."""
        ...

    def probes(self, query: bytes, verdict: Verdict, types: bytes, *, shape: bool) -> tuple[Probe, ...] | None:
        """What to plan for the client's ``query``: with ``shape`` for all texts that differ in literals alone, None
        where that cannot be written."""
        ...

    def settle(self, text: bytes, types: bytes, found: tuple[str, ...], *, shape: bool) -> None:
        """From now on ``found`` is the outcome, with ``shape`` for every text that shares the check."""
        ...


Splice = tuple[int, int, str, tuple[tuple[int, int, int], ...]]
"""An edit: bytes ``start`` to ``end`` of the client's text become a replacement. Last come the client's literals that
it repeats: (offset in it, characters, byte offset of the literal in the client's text).
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a text. Equal verdicts for equal (text, context).

    ``text`` (UTF-8) is what to send upstream; it *is* the client's bytes object where nothing was edited.
    ``refusal`` is set if and only if the text is refused; ``permanent`` then says that no purpose could change that
    (refuse at Parse). ``edits`` lets positions in upstream errors be mapped back: see :meth:`client_position`.
    """

    text: bytes
    statements: tuple[StatementVerdict, ...]
    refusal: Refusal | None = None
    permanent: bool = False
    edits: tuple[tuple[int, int, int], ...] = ()
    """(character offset in ``text``, characters there, characters of the client's text they stand for), ascending."""

    secured: bool = False
    """Something of it runs over secured relations: errors and notices are told without what may quote base rows."""

    splices: tuple[Splice, ...] = ()
    """The edits as they were made."""
    literals_are_data: bool = False
    """No literal of the text had a say in the verdict, beside those of ``subject_places``."""
    subject_places: tuple[tuple[str, int], ...] = ()
    """(kind, byte offset of the literal) of each subject that the text names."""

    classified_origins: Origins = frozenset()
    """Every classified column of the database."""
    secret: str = ""
    """A part of names in ``text`` that no client may learn."""
    by_value: tuple[int, int] = (0, 0)
    """It is refused for its one parameter, whose value has a say in the verdict: the first byte of ``$1`` in the text,
    and the byte behind it. With a literal in its place it may be allowed."""
    told_by: Literal["", "grammar", "analysis"] = ""
    """The refusal is an error that PostgreSQL raises itself, and better: when it reads the text, or when it analyses it
    (a Parse message), which then runs no code of users."""
    plan: PlanCheck | None = field(default=None, compare=False)
    """None where no plan could tell anything."""
    checks: tuple[Refusal, ...] = ()
    """What an upstream error that holds ``<secret>:<n>`` means: the refusal number n (from 0)."""
    commits: tuple[tuple[int, int], ...] = ()
    """Statements, but the first, that commit: number of each, and the byte of ``text`` where it begins. Where checks
    were left to COMMIT, the text is sent in parts that begin there."""
    within_block: Verdict | None = None
    """What to run instead while the session is in an explicit transaction block; None: the same."""
    plain: bool = field(init=False, compare=False, default=False)
    """Each statement gives its result and that is all: nothing that a session would have to look out for."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "plain", all(statement.plain for statement in self.statements))

    def hidden_origins(self, index: int, origins: Origins) -> Origins:
        """Those of ``origins`` that a result of the text's statement number ``index`` must not come from."""
        found = self.classified_origins & origins
        if not found or index >= len(self.statements):
            return frozenset()
        statement = self.statements[index]
        # What a cursor shows was decided when it was declared.
        return frozenset() if statement.cursor is not None else found - statement.raw_origins

    @property
    def rewritten(self) -> bool:
        """The text that goes upstream is not the client's."""
        return bool(self.edits)

    @property
    def ending(self) -> tuple[DeferredCheck, ...]:
        """The checks of what its statements wrote, to be made when it is done."""
        return (
            ()
            if self.plain
            else tuple(dict.fromkeys(check for statement in self.statements for check in statement.ending))
        )

    @property
    def has_effects(self) -> bool:
        """Some statement changes the session's state when it completes."""
        return not self.plain and any(statement.effects for statement in self.statements)

    def rejected(self, refusal: Refusal) -> Verdict:
        """The same text refused after all."""
        statements = tuple(replace(statement, kind="reject") for statement in self.statements)
        return replace(self, statements=statements, refusal=refusal)

    def client_position(self, position: int) -> int:
        """A character position (from 1) of ``text`` as a position of the client's text; inside an edit, its start."""
        shift = 0
        for offset, new, old in self.edits:
            if position - 1 < offset:
                break
            if position - 1 < offset + new:
                return offset - shift + 1
            shift += new - old
        return position - shift
