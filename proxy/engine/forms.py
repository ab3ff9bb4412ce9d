"""The forms in which a statement may refer to a classified relation: which can be secured, and how.

The wrap has costs of its own: a subquery has no system columns, is no named composite type, and depends functionally on
no primary key; TABLESAMPLE and ONLY belong inside; COPY takes no alias. What cannot be secured faithfully is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.catalog.model import Catalog, Relation
from proxy.engine.aliases import readable
from proxy.engine.closed_world import has_node
from proxy.engine.definitions import copy_clause, is_stored_view
from proxy.engine.implied import Asked, settle, worth_asking
from proxy.engine.refusals import PolicyRefused
from proxy.engine.secured import Shape, Sight, Viewer, fragment, parted
from proxy.errors import FEATURE_NOT_SUPPORTED, INSUFFICIENT_PRIVILEGE, Refusal
from proxy.sql.columns import ColumnNeeds
from proxy.sql.facts import Facts
from proxy.sql.grammar import Node
from proxy.sql.predicates import comparisons, hidden_by_alias
from proxy.sql.quote import qualified
from proxy.sql.relations import RelationName
from proxy.sql.splice import Change, Splicer, is_plain_reference, qualified_column, splicer_of
from proxy.sql.tree import nodes, strings
from proxy.sql.writing import MODIFYING

_READING = frozenset({"SelectStmt", "DeclareCursorStmt", "PrepareStmt", "CopyStmt"}) | MODIFYING
_NO_EQUALITY = frozenset({114, 142, 600, 601, 602, 603, 604, 628, 718, 4072})
"""Types without an equality operator (json, xml, geometric types, jsonpath): GROUP BY cannot take them."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference to a relation that the session does not see whole. ``asked`` None: COPY names it itself."""

    facts: Facts
    name: RelationName
    asked: ColumnNeeds | None
    sight: Sight
    needed: frozenset[str]
    columns: set[str]
    """Names of all columns of all relations that the statement names."""
    serializable: bool = False
    """The transaction may be serializable: which rows an index finds by a raw value, conflicts with others show."""

    @property
    def relation(self) -> Relation:
        return self.sight.relation

    # --- what cannot be secured ---------------------------------------------------------------------------------------

    def check(self, catalog: Catalog) -> None:
        """Raises PolicyRefused (0A000, for EXPLAIN 42501), naming what is missing."""
        for applies, words, location in self._missing(catalog):
            if applies:
                self._refuse(words, location)

    def _missing(self, catalog: Catalog) -> list[tuple[bool, str, int | None]]:
        kind, asked = self.facts.statement.kind, self.asked
        missing: list[tuple[bool, str, int | None]] = [
            (kind not in _READING and copy_clause(self.facts) is None, f"{self.facts.tag} over", None),
            (self.relation.kind not in "rpvmf", "this kind of relation:", None),
        ]
        missing.append(
            (bool(self.relation.parents) and self.parted(catalog), "a partition chosen by hidden values:", None)
        )
        if asked is None:
            return [*missing, (kind != "CopyStmt" or self.relation.kind not in "rm", "this reference to", None)]
        system = bool(asked.system)
        parted = self.parted(catalog)
        return [
            *missing,
            (parted and system, "a system column, which tells the partition, of", None),
            (self.name.place != "from", "this reference to", None),
            (system and asked.star, "a system column beside * of", None),
            (system and asked.natural, "a system column beside a NATURAL join of", None),
            (system and self.relation.kind in "vmf", "a system column of", None),
            (bool(self._rows) and self._may_be_column(), "a column, or a whole-row", None),
            (bool(self._rows) and self.name.renames_columns, "a whole-row reference to renamed columns of", None),
            (asked.joined is not None, "a whole-row reference to a join of", asked.joined),
            (bool(asked.qualified) and self._ambiguous(), "a schema-qualified column reference beside", None),
        ]

    def _refuse(self, words: str, location: int | None) -> None:
        full = f"{self.relation.schema}.{self.relation.name}"
        explains = self.facts.statement.kind == "ExplainStmt"
        raise PolicyRefused(
            Refusal(
                INSUFFICIENT_PRIVILEGE if explains else FEATURE_NOT_SUPPORTED,
                f"consentry: {words} the classified table {full} is not available",
                detail="A plan would tell of values that this session may not see."
                if explains
                else "The session does not see every cell of it as it is stored.",
                hint="Write a plain SELECT of named columns, or declare a purpose under which all of it may be seen.",
                position=self.facts.position(self.name.location if location is None else location),
            )
        )

    def parted(self, catalog: Catalog) -> bool:
        """See :func:`proxy.engine.secured.parted`."""
        return parted(self.sight, catalog)

    @property
    def _rows(self) -> tuple[tuple[Node, Node], ...]:
        """Select-list items that are the row itself: a name is a column first (parse_expr.c, transformColumnRef)."""
        return () if self.asked is None or self.name.visible_name in self.columns else self.asked.whole_rows

    @property
    def _passed(self) -> tuple[Node, ...]:
        """The row as an argument. Where the name may mean something else the row stays, of no type in particular."""
        told = self.asked is None or self.name.visible_name in self.columns or self.name.renames_columns
        return () if told or self.asked is None or self._may_be_column() else self.asked.passed_rows

    def _may_be_column(self) -> bool:
        """The relation's name may be that of a column that a subquery, a WITH query or a function makes."""
        name = self.name.visible_name
        for key, node in nodes(self.facts.statement.node):
            if key == "ResTarget" and node.get("name") == name:
                return True
            if name in strings(node.get("colnames")) or name in strings(node.get("aliascolnames")):
                return True
            if key in ("RangeFunction", "RangeTableFunc", "JsonTable"):
                return True
        return False

    def _ambiguous(self) -> bool:
        """``schema.table.column`` could be meant for another item of FROM once the schema is gone."""
        same = [other for other in self.facts.relations if other.visible_name == self.name.visible_name]
        return self.name.alias is not None or len(same) > 1

    # --- how the rest is --------------------------------------------------------------------------------------------

    def changes(self, viewer: Viewer, catalog: Catalog) -> list[Change]:
        """The changes to the text that secure this reference."""
        splicer = splicer_of(self.facts)
        if self.asked is None:
            # COPY of an inherited table leaves its children out (copy.c, DoCopy: ONLY).
            text = fragment(viewer, catalog, self.sight, self.needed, Shape(only=self.relation.kind == "r"))
            columns = copied_columns(self.facts, self.relation)
            return [splicer.copied(self.name, self.facts.statement.node, text, columns)]
        shape = Shape(
            only=self.name.only,
            sample=splicer.sample(self.name),
            system=tuple(sorted(self.asked.system - {column.name for column in self.relation.columns})),
            lockable=has_node(self.facts, "LockingClause"),
            comparisons=worth_asking(self.where, self.relation, self.sight.decisions, catalog, drops=self.sight.drops),
        )
        text = fragment(viewer, catalog, self.sight, self.needed, shape)
        text, copies = settle(readable(text) if is_stored_view(self.facts) else text, self.facts.query)
        return [
            splicer.relation(self.name, text, copies),
            *(splicer.unqualified(reference) for reference in self.asked.qualified),
            *(self._whole_row(splicer, item, reference) for item, reference in self._rows),
            *(splicer.reference(reference, f"({self._row()})") for reference in self._passed),
            *self._grouped(splicer),
        ]

    @property
    def where(self) -> Asked:
        """What the WHERE clause asks of it in plain comparisons, where these may be asked of the bare table."""
        return Asked(self.facts.query, () if self.serializable else comparisons(self.facts, self.name))

    def _whole_row(self, splicer: Splicer, item: Node, reference: Node) -> Change:
        return splicer.whole_row(item, reference, self._row(), self.name.visible_name)

    def _row(self) -> str:
        """The row as a value of the table's own type, NULL where an outer join found no row."""
        cells = ", ".join(qualified_column(self.name, column.name) for column in self.relation.columns)
        row_type = qualified(self.relation.schema, self.relation.name)
        alias = qualified_column(self.name, "").partition(".")[0]
        return f"CASE WHEN {alias} IS DISTINCT FROM NULL THEN ROW({cells})::{row_type} END"

    def _grouped(self, splicer: Splicer) -> list[Change]:
        """GROUP BY a key, with columns that depend on it: they are named, since a subquery has no key."""
        level = self.name.level
        group = level.get("groupClause") if level is not None else None
        if level is None or group is None or self.asked is None or self.name.renames_columns:
            return []
        if hidden_by_alias(level, self.name):
            return []  # columns of a join depend on no key
        for key in self.relation.unique_keys:
            places = [self._place(group, column) for column in key]
            if places and None not in places:
                named = {strings(item["ColumnRef"]["fields"])[-1] for item in group if "ColumnRef" in item}
                added = [
                    qualified_column(self.name, column.name)
                    for column in self.relation.columns
                    if column.name in self.needed and column.name not in named and column.base_type not in _NO_EQUALITY
                ]
                last = max(place for place in places if place is not None)
                return [splicer.grouped(group, last, added)] if added else []
        return []

    def _place(self, group: list[Node], column: str) -> int | None:
        """Where this relation's ``column`` stands in a GROUP BY list."""
        for index, item in enumerate(group):
            if is_plain_reference(item, (self.name.visible_name, column)) or is_plain_reference(item, (column,)):
                return index
        return None


def copied_columns(facts: Facts, relation: Relation) -> list[str]:
    """The columns that a COPY of a relation is about: those it lists, else all but generated ones."""
    listed = list(strings(facts.statement.node.get("attlist")))
    if facts.statement.kind == "CopyStmt" and listed:
        return listed
    return [column.name for column in relation.columns if not column.generated]
