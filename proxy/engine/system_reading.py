"""Reading secured system catalogs: the same wrap as that of a classified table, with rows judged by their own keys.

    (SELECT t."relid" AS "relid", CASE WHEN t."relid" = ANY (SELECT …relations that are not protected…)
            THEN t."n_live_tup" END AS "n_live_tup" FROM "pg_catalog"."pg_stat_user_tables" AS t)

A statement that asks for nothing but what shows anyway goes upstream as it came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from proxy.catalog.model import Column, Relation
from proxy.engine.closed_world import holds_values
from proxy.engine.conditions import BASE
from proxy.engine.grounds import Grounds
from proxy.engine.protected import Protected
from proxy.engine.refusals import unsupported
from proxy.engine.resolve import Resolved
from proxy.engine.session_state import SessionState
from proxy.engine.system_catalogs import Guard, Rows, SystemCatalog
from proxy.masks.expression import null
from proxy.sql.columns import ColumnNeeds, Levels, needs
from proxy.sql.facts import Facts
from proxy.sql.quote import identifier, literal, qualified
from proxy.sql.relations import RelationName
from proxy.sql.splice import Change, splicer_of
from proxy.sql.statements import KINDS, Family
from proxy.verdict import Prepare

_EQUAL = "OPERATOR(pg_catalog.=)"
_SHOWN_BYTES = 1023
"""PostgreSQL cuts the text in pg_stat_activity here (track_activity_query_size, default 1024 with the final NUL)."""
_SELF_DESCRIBING = (1249, 1260, 1418, 2613, 2619, 3429, 6100)
"""pg_attribute, pg_authid, pg_user_mapping, pg_largeobject, pg_statistic, pg_statistic_ext_data, pg_subscription:
statistics of these tables hold what their own secured columns hide."""


def secure(facts: Facts, resolved: Resolved, state: SessionState, grounds: Grounds) -> list[Change]:
    """The changes that secure every system catalog that a statement reads more of than what shows anyway.

    Raises Refused (0A000) for a form of statement in which that cannot be done.
    """
    found: list[Change] = []
    for name, relation, catalog in resolved.system:
        found += _Reference(facts, name, relation, catalog, state, grounds.protected).changes()
    if found:
        state.must_be_known()
    return found


class _Reference:
    """One reference to a system catalog."""

    def __init__(
        self,
        facts: Facts,
        name: RelationName,
        relation: Relation,
        catalog: SystemCatalog,
        state: SessionState,
        protected: Protected,
    ) -> None:
        self.facts = facts
        self.name = name
        self.relation = relation
        self.catalog = catalog
        self.state = state
        self.protected = protected
        # UPDATE … FROM and DELETE … USING have no SELECT of their own: whatever the statement says may be meant.
        whole = name if name.level is not None else replace(name, level=facts.statement.node)
        self.asked: ColumnNeeds = needs(whole, Levels())
        self.columns = frozenset(column.name for column in relation.columns)

    def changes(self) -> list[Change]:
        kind = self.facts.statement.kind
        if KINDS[kind][0] is Family.MAINTENANCE or not self._hides():
            return []
        for applies, words in self._missing():
            if applies:
                raise unsupported(
                    f"{words} the system catalog {self.relation.name} is not available",
                    detail="It holds stored values, other sessions' statements or counts of rows touched.",
                    way_out="Write a plain SELECT of named columns.",
                    position=self.facts.position(self.name.location),
                )
        splicer = splicer_of(self.facts)
        return [
            splicer.relation(self.name, self._fragment()),
            *(splicer.unqualified(reference) for reference in self.asked.qualified),
        ]

    def _hides(self) -> bool:
        """Something that the statement asks for does not show as it is."""
        if self.catalog.rows is not Rows.ALL:
            return True
        if self.name.place != "from" and holds_values(self.relation.schema, self.relation.name):
            return True
        if self.name.place == "other" and self.facts.statement.kind == "CopyStmt":
            return True
        return any(not self.catalog.is_plain(column) for column in self._needed())

    def _needed(self) -> frozenset[str]:
        return self.columns if self.asked.every else self.columns & self.asked.names

    def _missing(self) -> list[tuple[bool, str]]:
        kind, node, asked = self.facts.statement.kind, self.facts.statement.node, self.asked
        makes_table = kind == "CreateTableAsStmt" and node.get("objtype") == "OBJECT_TABLE"
        read = KINDS[kind][0] is Family.QUERY and kind != "ExplainStmt"
        system = self._system()
        alike = [other for other in self.facts.relations if other.visible_name == self.name.visible_name]
        kept = kind == "PrepareStmt" and self.catalog.rows is Rows.CLIENTS_STATEMENTS
        return [
            (not (read or makes_table) or kept, f"{self.facts.tag} over"),
            (self.name.place != "from" or self.name.level is None, "this reference to"),
            (self.name.sample is not None, "TABLESAMPLE of"),
            (bool(asked.whole_rows), "a whole-row reference to"),
            (bool(system - {"tableoid"}), "a system column of"),
            (bool(system) and (asked.star or asked.natural), "a system column beside * of"),
            (bool(asked.qualified) and (self.name.alias is not None or len(alike) > 1), "a qualified column of"),
        ]

    def _system(self) -> frozenset[str]:
        """System columns that may be meant; a view has none."""
        return self.asked.system - self.columns if self.relation.kind == "r" else frozenset()

    # --- the secured relation -----------------------------------------------------------------------------------------

    def _fragment(self) -> str:
        needed = self._needed()
        cells = [
            f"{self._cell(column) if column.name in needed else null(column)} AS {identifier(column.name)}"
            for column in self.relation.columns
        ]
        columns = ", ".join([*cells, *(f"{BASE}.{name} AS {name}" for name in sorted(self._system()))])
        source = qualified(self.relation.schema, self.relation.name)
        return f"(SELECT {columns} FROM {source} AS {BASE}{self._rows()})"  # noqa: S608 - identifiers are quoted

    def _cell(self, column: Column) -> str:
        raw = f"{BASE}.{identifier(column.name)}"
        if column.name == self.catalog.text:
            return self._own_text(raw)
        if self.catalog.is_plain(column.name):
            return raw
        if column.name in self.catalog.extent:
            return f"CASE WHEN {self._about(self._not_chosen)} THEN {raw} END"
        if not self.catalog.is_guarded(column.name) or not self.columns.issuperset(self.catalog.key):
            return null(column)
        return f"CASE WHEN {self._guard()} THEN {raw} END"

    def _guard(self) -> str:
        match self.catalog.guard:
            case Guard.TOP_LEVEL:
                return f'{BASE}."toplevel"'
            case Guard.PROGRESS:
                here = f'{BASE}."datname" {_EQUAL} pg_catalog.current_database()'
                return f"{here} AND {self._about(self._unprotected)}"
            case _:
                return self._about(self._unprotected)

    def _about(self, relations: Callable[[str], str]) -> str:
        """The row is about one of ``relations``, a query for what it is given: an OID, or a schema's and own name."""
        keys = [f"{BASE}.{identifier(key)}" for key in self.catalog.key]
        if self.catalog.key == ("stxoid",):
            objects = "SELECT s.oid FROM pg_catalog.pg_statistic_ext AS s WHERE s.stxrelid"
            return f"{keys[0]} {_EQUAL} ANY ({objects} {_EQUAL} ANY ({relations('c.oid')}))"
        if len(keys) > 1:
            return f"({', '.join(keys)}) {_EQUAL} ANY ({relations('n.nspname, c.relname')})"
        return f"{keys[0]} {_EQUAL} ANY ({relations('c.oid')})"

    def _unprotected(self, wanted: str) -> str:
        """``wanted`` of every relation and index that nothing hidden can be told of."""
        oids = hidden_relations(self.state.context.catalog.relations, self.protected)
        if self.catalog.guard is Guard.STATISTICS:
            oids |= set(_SELF_DESCRIBING)
        return _relations_but(wanted, oids, oids)

    def _not_chosen(self, wanted: str) -> str:
        """``wanted`` of every relation and index whose number of rows tells of no hidden value."""
        relations = self.state.context.catalog.relations
        return _relations_but(
            wanted, chosen_partitions(relations, self.protected), hidden_relations(relations, self.protected)
        )

    def _rows(self) -> str:
        """The row filter behind a fence, so that a client's expression never meets a row that is not there."""
        match self.catalog.rows:
            case Rows.ALL:
                return ""
            case Rows.NOT_CHOSEN:
                return f" WHERE {self._about(self._not_chosen)} OFFSET 0"
            case Rows.COARSE_LOCKS:
                grains = ", ".join(map(literal, ("page", "tuple")))
                coarse = f'NOT {BASE}."locktype" {_EQUAL} ANY (ARRAY[{grains}])'
                return f' WHERE {coarse} AND NOT {BASE}."mode" {_EQUAL} {literal("SIReadLock")} OFFSET 0'
            case Rows.CLIENTS_STATEMENTS:
                names = ", ".join(literal(name) for name in sorted(self.state.context.prepared))
                known = f"ARRAY[{names}]::pg_catalog.text[]"
                return f' WHERE {BASE}."name" {_EQUAL} ANY ({known}) OFFSET 0'

    def _own_text(self, raw: str) -> str:
        """The client's own statements as the client wrote them; everybody else's text is NULL."""
        if self.catalog.rows is Rows.CLIENTS_STATEMENTS:
            context = self.state.context
            cases = [
                f'WHEN {BASE}."name" {_EQUAL} {literal(name)} THEN CASE WHEN {BASE}."from_sql" THEN'
                f" {literal(f'PREPARE {identifier(name)} AS {context.prepared[name]}')}"
                f" ELSE {literal(context.prepared[name])} END"
                for name in sorted(context.prepared_sent.keys() & context.prepared.keys())
            ]
            return f"CASE {' '.join(cases)} ELSE {raw} END" if cases else raw
        if self.relation.name == "pg_cursors":
            texts = self.state.context.cursors
            cases = [
                f'WHEN {BASE}."name" {_EQUAL} {literal(name)} THEN {literal(texts[name])}' for name in sorted(texts)
            ]
            return f"CASE {' '.join(cases)} END" if cases else "NULL::pg_catalog.text"
        own = next((effect.text for effect in self.facts.effects if isinstance(effect, Prepare)), None)
        text = self.facts.query if own is None else own.encode()
        shown = literal(text[:_SHOWN_BYTES].decode("utf-8", "ignore"))
        return f'CASE WHEN {BASE}."pid" {_EQUAL} pg_catalog.pg_backend_pid() THEN {shown} END'


def _relations_but(wanted: str, tables: set[int], indexed: set[int]) -> str:
    """``wanted`` of all relations but ``tables`` and the indexes of ``indexed``.

    By OID, so that a relation that was renamed a moment ago is still the same. TOAST tables hold what is long of
    others' cells; temporary tables of other sessions hold what those may see.
    """
    space = "n.nspname::pg_catalog.text"
    return (
        f"SELECT {wanted} FROM pg_catalog.pg_class AS c"  # noqa: S608 - composed of constants and numbers
        f" JOIN pg_catalog.pg_namespace AS n ON n.oid {_EQUAL} c.relnamespace"
        f" LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid {_EQUAL} c.oid"
        f" WHERE NOT c.oid {_EQUAL} ANY ({_oids(tables)})"
        f" AND (i.indrelid IS NULL OR NOT i.indrelid {_EQUAL} ANY ({_oids(indexed)}))"
        f" AND NOT pg_catalog.starts_with({space}, {literal('pg_toast')})"
        f" AND (NOT pg_catalog.starts_with({space}, {literal('pg_temp_')})"
        f" OR n.oid {_EQUAL} pg_catalog.pg_my_temp_schema())"
    )


def _oids(oids: set[int]) -> str:
    return "'{" + ",".join(map(str, sorted(oids))) + "}'::pg_catalog.oid[]"


def hidden_relations(relations: Mapping[int, Relation], protected: Protected) -> set[int]:
    """OIDs of what statistics and counters must not tell of: protected relations, their ancestors (whose inherited
    statistics are made of them) and the materialized views that were computed from them.
    """
    found = {*protected.classified, *protected.sources}
    pending = [parent for oid in found for parent in relations[oid].parents]
    while pending:
        parent = pending.pop()
        if parent not in found and parent in relations:
            found.add(parent)
            pending.extend(relations[parent].parents)
    return found | {oid for oid, relation in relations.items() if not relation.sources.isdisjoint(found)}


def chosen_partitions(relations: Mapping[int, Relation], protected: Protected) -> set[int]:
    """OIDs of partitions for which a row was chosen by a classified column, or by an expression that may be of one."""
    found = set()
    for oid, classification in protected.classified.items():
        ancestors = list(relations[oid].parents)
        for parent in ancestors:
            above = relations.get(parent)
            if above is not None:
                ancestors.extend(above.parents)
                if not {"", *classification}.isdisjoint(above.partition_key):
                    found.add(oid)
    return found
