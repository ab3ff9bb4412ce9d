"""What a data-modifying statement reads of its own target: predicates, SET expressions, RETURNING.

A target cannot be wrapped as a relation of FROM is, so each reference to a column that the session does not see as it
is stored becomes the cell that it sees. Where a reference may mean the target or something else, the statement is
refused: no expression of the client's is ever evaluated on a stored value that it may not see.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.catalog.model import Catalog, Relation
from proxy.engine.conditions import RowConditions
from proxy.engine.refusals import PolicyRefused
from proxy.engine.secured import Sight, Viewer, cell, kept_rows, parted, unrestricted
from proxy.errors import FEATURE_NOT_SUPPORTED, INSUFFICIENT_PRIVILEGE, Refusal
from proxy.sql.clauses import Clauses
from proxy.sql.columns import SYSTEM_COLUMNS
from proxy.sql.facts import Facts
from proxy.sql.flows import Flows
from proxy.sql.grammar import Node
from proxy.sql.names import result_name
from proxy.sql.quote import identifier
from proxy.sql.scopes import Source
from proxy.sql.splice import Change, splicer_of
from proxy.sql.tree import nodes, of_type, strings
from proxy.sql.writing import Modification


@dataclass(slots=True)
class Target:
    """The target of one modification, as the session sees it."""

    facts: Facts
    modification: Modification
    sight: Sight
    viewer: Viewer
    catalog: Catalog
    flows: Flows

    @property
    def relation(self) -> Relation:
        return self.sight.relation

    def references(self) -> list[tuple[Node, frozenset[str]]]:
        """Every ColumnRef that may mean the target, with the columns that it may mean."""
        infer = self.modification.node.get("onConflictClause", {}).get("infer")
        # What infers an index is compared with the index's own definition and never evaluated.
        passed_over = {id(reference) for reference in of_type(infer, "ColumnRef")} if infer else set()
        found = []
        for reference in of_type(self.modification.node, "ColumnRef"):
            mine = frozenset(source.column for source in self._mine(reference))
            if mine and id(reference) not in passed_over:
                found.append((reference, mine))
        return found

    def _mine(self, reference: Node) -> list[Source]:
        return [one for one in self.flows.reference(reference) if one.relation is self.modification.target]

    def read(self) -> frozenset[str]:
        """The columns of the target that the statement may read."""
        return frozenset().union(*(columns for _, columns in self.references()))

    @property
    def hidden(self) -> frozenset[str]:
        """The columns that the session does not see as they are stored, in every row."""
        return frozenset(name for name, decision in self.sight.decisions.items() if not unrestricted(decision))

    def rows(self, base: str) -> RowConditions:
        """Conditions of the row that ``base`` (SQL) names."""
        return RowConditions(
            self.viewer.policy, self.catalog, self.relation, self.viewer.subject, inline=True, base=base
        )

    @property
    def base(self) -> str:
        """What the target's row is called."""
        return identifier(self.modification.target.visible_name)

    # --- edits --------------------------------------------------------------------------------------------------------

    def changes(self) -> list[Change]:
        """The changes that secure every reading of the target. Raises PolicyRefused (0A000; 42501 for EXPLAIN)."""
        self._check_partitions()
        hidden = self.hidden
        touched = [(reference, columns) for reference, columns in self.references() if columns & hidden]
        drops = self.sight.drops and self.modification.kind in ("UpdateStmt", "DeleteStmt")
        if not (touched or self.sight.drops):
            return []
        if self.facts.statement.kind == "ExplainStmt":
            self._refuse("EXPLAIN of a change of", None, explains=True)
        if self.sight.drops and (self.modification.kind == "MergeStmt" or self.modification.conflicts):
            self._refuse(f"{self.modification.kind.removesuffix('Stmt').upper()} where rows are dropped of", None)
        items = {id(item["val"].get("ColumnRef")): item for item in self.modification.returning if "val" in item}
        changes: list[Change] = []
        replaced: dict[int, str] = {}
        for reference, columns in touched:
            item = items.get(id(reference))
            if "A_Star" in reference["fields"][-1]:
                changes.append(self._star(reference, item))
                continue
            self._check_certain(reference, columns)
            replaced[id(reference)] = self._cell(reference)
        changes += self._replacements(replaced)
        if drops:
            changes.append(self._kept())
        return changes

    def _check_partitions(self) -> None:
        """Nothing that is done to rows may be done to those that a hidden value put into one partition."""
        if not parted(self.sight, self.catalog):
            return
        chooses = self.modification.conflicts or any(one.event != "insert" for one in self.modification.actions)
        if self.relation.parents and (chooses or "onConflictClause" in self.modification.node):
            self._refuse("a partition chosen by hidden values:", None)
        if self.read() & SYSTEM_COLUMNS:
            self._refuse("a system column, which tells the partition, of", None)

    def _check_certain(self, reference: Node, columns: frozenset[str]) -> None:
        """It can mean one column of the target and nothing else, where the target's name means the target."""
        location = int(reference.get("location", 0))
        if len(self.flows.reference(reference)) != 1 or strings(reference["fields"])[-1:] != tuple(columns):
            self._refuse("a reference that may mean a hidden column, or a whole row, of", location)
        name = self.modification.target.visible_name
        for key, select in nodes(self.modification.node):
            if "limitOption" not in select or key in ("larg", "rarg"):
                continue
            if any(inner is reference for inner in of_type(select, "ColumnRef")) and _names(select, name):
                self._refuse(f'a reference past another "{name}" to', location)

    def _cell(self, reference: Node) -> str:
        parts = strings(reference["fields"])
        column = self.relation.column(parts[-1])
        if column is None:
            self._refuse("an unknown column of", int(reference.get("location", 0)))
        assert column is not None  # noqa: S101 - for the type checker
        return f"({cell(self.rows(self._qualifier(parts)), self.sight, column)})"

    def _qualifier(self, parts: tuple[str, ...]) -> str:
        """The row that a reference is to: the target's, or ``old`` or ``new`` of RETURNING."""
        if len(parts) != 2 or parts[0] == self.modification.target.visible_name:
            return self.base
        return identifier(parts[0])

    def _replacements(self, replaced: dict[int, str]) -> list[Change]:
        """Each reference becomes its cell; a result column that was named after it keeps its name."""
        splicer = splicer_of(self.facts)
        changes = [
            splicer.reference(reference, replaced[id(reference)])
            for reference in of_type(self.modification.node, "ColumnRef")
            if id(reference) in replaced
        ]
        for key, item in nodes(self.modification.node):
            if key != "ResTarget" or "name" in item or "val" not in item:
                continue
            name, named_by = result_name(item["val"])
            if named_by is not None and id(named_by) in replaced:
                changes.append(splicer.named(item, name))
        return changes

    def _star(self, reference: Node, item: Node | None) -> Change:
        """``*`` in RETURNING becomes the list of cells with their names."""
        location = int(reference.get("location", 0))
        parts = strings(reference["fields"])
        if item is None or "name" in item or len(parts) > 1:
            self._refuse("a whole row of", location)
        others = [] if parts else self._others(location)
        rows = self.rows(self._qualifier((*parts, "*")) if parts else self.base)
        cells = [f"{cell(rows, self.sight, one)} AS {identifier(one.name)}" for one in self.relation.columns]
        # MERGE shows its source before its target, the others show it behind (transformReturningClause).
        items = [*others, *cells] if self.modification.kind == "MergeStmt" else [*cells, *others]
        return splicer_of(self.facts).star(item or {}, reference, items)

    def _others(self, location: int) -> list[str]:
        """What ``*`` shows of the relations that are joined to the target: all columns of each, in their order."""
        node = self.modification.node
        stack = [
            *node.get("fromClause", ()),
            *node.get("usingClause", ()),
            *([node["sourceRelation"]] if "sourceRelation" in node else []),
        ]
        found = []
        while stack:
            item = stack.pop(0)
            join = item.get("JoinExpr", {})
            if join and not ("alias" in join or "usingClause" in join or join.get("isNatural")):
                stack[:0] = [join["larg"], join["rarg"]]
                continue
            [shown] = item.values()
            name = shown.get("alias", {}).get("aliasname") or shown.get("relname")
            if name is None or (join and "alias" not in join):
                self._refuse("* of this join beside", location)
            found.append(f"{identifier(str(name))}.*")
        return found

    def _kept(self) -> Change:
        """Rows that the policy drops are not there for the statement: its own WHERE is not evaluated on them."""
        where = self.modification.node.get("whereClause", {})
        if "CurrentOfExpr" in where:
            self._refuse("WHERE CURRENT OF over", None)
        terms = " AND ".join(dict.fromkeys(kept_rows(self.rows(self.base), self.sight)))
        return Clauses(self.facts.tokens, self.modification).where(f"({terms})")

    def _refuse(self, words: str, location: int | None, *, explains: bool = False) -> None:
        full = f"{self.relation.schema}.{self.relation.name}"
        raise PolicyRefused(
            Refusal(
                INSUFFICIENT_PRIVILEGE if explains else FEATURE_NOT_SUPPORTED,
                f"consentry: {words} the classified table {full} is not available",
                detail="A plan would tell of values that this session may not see."
                if explains
                else "The session does not see every cell of it as it is stored.",
                hint="Name the columns that are needed, or declare a purpose under which all of it may be seen.",
                position=0 if location is None else self.facts.position(location),
            )
        )


def _names(select: Node, name: str) -> bool:
    """Some FROM item below a SELECT bears ``name``."""
    for _, node in nodes(select):
        if node.get("alias", {}).get("aliasname") == name if isinstance(node.get("alias"), dict) else False:
            return True
        if "relname" in node and "alias" not in node and node["relname"] == name:
            return True
    return False
