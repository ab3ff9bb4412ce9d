"""Keys that stored personal information bears already. A new row of a registry, or of a table through which others
reach their subject, says of every row with its key whose it is and what may be done with it: that is for roles that
manage the kind of subject. Deleting a row and inserting it again would else be a way to change it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from proxy.catalog.model import Catalog, Relation
from proxy.engine.aliases import alias
from proxy.engine.base_table import base_of
from proxy.engine.classification import family, stores_into
from proxy.engine.part import Part
from proxy.engine.refusals import unsupported
from proxy.engine.row_checks import Check
from proxy.engine.write_refusals import claiming_refused
from proxy.policy.model import Name, Policy, TablePolicy
from proxy.sql.quote import identifier, qualified

_CHILD, _BEFORE = alias("h"), alias("b")


@dataclass(frozen=True, slots=True)
class Claim:
    """Rows of ``child`` whose ``column`` is the ``key`` of a new row are about a subject of ``kind``. ``holds``: a
    foreign key lets no such row stand without its parent at the end of a statement.
    """

    child: Relation
    column: str
    key: str
    kind: str
    holds: bool

    def free(self, key: str) -> str:
        """SQL: no stored row has this key (SQL)."""
        rows = f"SELECT FROM {qualified(self.child.schema, self.child.name)} AS {_CHILD}"
        return f"NOT EXISTS ({rows} WHERE {_CHILD}.{identifier(self.column)} OPERATOR(pg_catalog.=) {key})"


def claims(policy: Policy, catalog: Catalog, table: Relation, manages: frozenset[str]) -> tuple[Claim, ...]:
    """The claims of new rows of ``table`` by a role that manages the kinds ``manages``."""
    found = {
        (child.oid, column, key): Claim(child, column, key, kind, _holds(catalog, table, child, column, key))
        for entry in policy.tables.values()
        for name, column, named, kind in _ways(policy, entry)
        if kind not in manages and (key := _own_key(catalog, table, name, named)) is not None
        for child in [catalog.relation(*entry.name)]
        if child is not None and child.oid != table.oid and child.column(column) is not None
    }
    return tuple(found.values())


def _ways(policy: Policy, entry: TablePolicy) -> Iterator[tuple[Name, str, str, str]]:
    """By which parent a table's rows reach their subject: the parent, their own column, the parent's key, the kind."""
    link = entry.subject
    if link is None:
        return
    kind = policy.subjects[link.kind]
    if link.key is not None and entry.name != kind.table:
        yield kind.table, link.key, kind.key, kind.name
    elif link.via is not None:
        yield link.via.table, link.via.column, link.via.key, kind.name


def _own_key(catalog: Catalog, table: Relation, name: Name, key: str) -> str | None:
    """What ``table`` calls the ``key`` of the parent ``name``, of which it is a part, or which is a view of it; None
    where it is neither."""
    named = catalog.relation(*name)
    base = None if named is None else base_of(named, catalog)
    if base is None or all(one.oid != table.oid for one in stores_into(catalog, base.relation.oid)):
        return None
    return base.columns.get(key)


def _holds(catalog: Catalog, table: Relation, child: Relation, column: str, key: str) -> bool:
    referring = {
        one.relation
        for one in table.referenced_by
        if one.holds and one.columns == (column,) and one.referenced == (key,)
    }
    return all(member.oid in referring for member in family(catalog, child.oid))


def unclaimed(part: Part) -> list[Check]:
    """The check that a new row claims nothing. A row that was there before the statement claims what it did."""
    if not part.modification.does("insert"):
        return []
    role = part.state.role
    manages = frozenset() if role is None else role.manages
    # Nothing takes away the row that a foreign key holds, in whose place another could come.
    alone = sum(name.place == "target" for name in part.facts.relations) == 1 and not part.modification.does("delete")
    found = [one for one in claims(part.state.policy, part.catalog, part.table, manages) if not (alone and one.holds)]
    if not found:
        return []
    shown = {} if part.base_table is None else {inner: name for name, inner in part.base_table.columns.items()}
    if any(one.key not in shown for one in found):
        raise unsupported(
            f"an INSERT through {part.full_name}, which does not show a key that stored rows may bear",
            way_out="Write to the table itself.",
        )
    replaced = alone and part.modification.conflicts
    terms = [_free(part, one, f"{part.base}.{identifier(shown[one.key])}", replaced=replaced) for one in found]
    refused = claiming_refused(part.table, {one.kind for one in found}, part.state)
    return [Check(" AND ".join(dict.fromkeys(terms)), (), refused.refusal, "insert")]


def _free(part: Part, claim: Claim, key: str, *, replaced: bool) -> str:
    """SQL: no stored row has the key (``replaced``: or there was a row with it, which the statement has changed)."""
    free = claim.free(key)
    if not replaced:
        return free
    there = f"SELECT FROM {qualified(part.table.schema, part.table.name)} AS {_BEFORE}"
    return f"({free} OR EXISTS ({there} WHERE {_BEFORE}.{identifier(claim.key)} OPERATOR(pg_catalog.=) {key}))"
