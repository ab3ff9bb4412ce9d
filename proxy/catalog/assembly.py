"""Builds a :class:`~proxy.catalog.model.Catalog` out of the rows of the system catalogs. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TypeVar

from proxy.catalog.attachments import Rows, tables
from proxy.catalog.model import (
    FIRST_NORMAL_OBJECT_ID,
    Catalog,
    Column,
    Function,
    Operator,
    ReferencedBy,
    Relation,
    Type,
)
from proxy.catalog.reach import Class, Object, Reaches
from proxy.catalog.types import TypeNames, TypeRow
from proxy.catalog.uses import Row, Uses

_DEFAULT_COLLATION = 100
_AUTOMATIC = ("i", "a")  # pg_cast.castcontext: implicit, assignment

_Named = TypeVar("_Named", Function, Operator, Type)


def assemble(database: str, generation: int, server_version: int, rows: Rows) -> Catalog:
    """One snapshot as a Catalog. ``rows`` holds the result of each query under its name in lower case.

    Raises KeyError where the rows contradict each other, so that no half-read catalog is ever used.
    """
    schemas = {row["oid"]: row for row in rows["schemas"]}
    visible = {oid: row["name"] for oid, row in schemas.items() if not row["temporary"]}
    extensions = {Object(row["class"], row["oid"]): row["name"] for row in rows["extensions"]}
    types = {row["oid"]: _type_row(row, schemas[row["schema"]]) for row in rows["types"]}
    uses = Uses(rows, types)
    relations = _relations(rows, visible, extensions, types, uses)
    functions = {row["oid"]: _function(row, visible, extensions, uses) for row in rows["functions"]}
    operators = [_operator(row, visible, extensions, uses) for row in rows["operators"] if row["schema"] in visible]
    return Catalog(
        database=database,
        generation=generation,
        server_version=server_version,
        relations=relations,
        relation_names={(relation.schema, relation.name): oid for oid, relation in relations.items()},
        schemas=frozenset(visible.values()),
        functions=functions,
        functions_named=_by_name(function for function in functions.values() if function.schema),
        operators_named=_by_name(operators),
        types_named=_by_name(_user_types(types, visible, extensions, uses)),
        implicit_casts=frozenset(row["function"] for row in rows["casts"] if _unasked(row)),
    )


def _unasked(cast: Row) -> bool:
    """Applied by PostgreSQL without being asked; or between built-in types, so that no user-made type shows it."""
    builtin = max(cast["source"], cast["target"]) < FIRST_NORMAL_OBJECT_ID
    return cast["context"] in _AUTOMATIC or builtin


def _by_name(things: Iterable[_Named]) -> dict[str, tuple[_Named, ...]]:
    found: dict[str, list[_Named]] = defaultdict(list)
    for thing in things:
        found[thing.name].append(thing)
    return {name: tuple(same) for name, same in found.items()}


def _type_row(row: Row, schema: Row) -> TypeRow:
    return TypeRow(
        oid=row["oid"],
        schema=schema["name"],
        name=row["name"],
        schema_sql=schema["sql"],
        name_sql=row["sql"],
        kind=row["kind"],
        category=row["category"],
        base=row["base"],
        typmod=row["typmod"],
        not_null=row["not_null"],
        relation=row["relation"],
        element=row["element"],
        is_array=row["is_array"],
        subtype=row["subtype"],
        outputs=frozenset(row["outputs"]),
        inputs=frozenset([*row["inputs"], *(oid for oid in row["range_functions"] if oid)]),
        labels=tuple(row["labels"]),
    )


def _relations(
    rows: Rows,
    visible: Mapping[int, str],
    extensions: Mapping[Object, str],
    types: Mapping[int, TypeRow],
    uses: Uses,
) -> dict[int, Relation]:
    columns = _columns(rows, types)
    names = {row["oid"]: f"{visible[row['schema']]}.{row['name']}" for row in rows["relations"]}
    attached = tables(rows, names, uses)
    reaches = Reaches(attached)
    keys: dict[int, list[tuple[str, ...]]] = defaultdict(list)
    for row in rows["indexes"]:
        if row["is_key"] and row["relation"] in names:
            keys[row["relation"]].append(_named_columns(columns, row["relation"], row["numbers"]))
    partition_keys = {
        row["relation"]: tuple(
            columns[row["relation"]][number].name if number else "" for number in dict.fromkeys(row["numbers"])
        )
        for row in rows["partitioned"]
        if row["relation"] in names
    }
    references: dict[int, list[ReferencedBy]] = defaultdict(list)
    for row in rows["constraints"]:
        if row["kind"] == "f" and row["relation"] in columns and row["referenced"] in columns:
            own = _named_columns(columns, row["relation"], row["columns"])
            referenced = _named_columns(columns, row["referenced"], row["referenced_columns"])
            references[row["referenced"]].append(ReferencedBy(row["relation"], own, referenced))
    found = {}
    definitions = {row["oid"]: row["definition"] for row in rows["views"]}
    for row in rows["relations"]:
        oid = row["oid"]
        table = attached.get(oid)
        found[oid] = Relation(
            oid=oid,
            schema=visible[row["schema"]],
            name=row["name"],
            kind=row["kind"],
            columns=tuple(columns.get(oid, {}).values()),
            parents=tuple(table.parents) if table else (),
            children=tuple(table.children) if table else (),
            partition_key=partition_keys.get(oid, ()),
            row_security=row["row_security"],
            temporary=False,
            extension=extensions.get(Object(Class.RELATION, oid)),
            unique_keys=tuple(keys.get(oid, ())),
            reach=reaches.of(oid),
            sources=reaches.sources(oid),
            referenced_by=tuple(references.get(oid, ())),
            definition=definitions.get(oid) or "",
        )
    return found


def _named_columns(
    columns: Mapping[int, Mapping[int, Column]], relation: int, numbers: Iterable[int]
) -> tuple[str, ...]:
    """The names of user columns; system columns and expressions (0) have none."""
    own = columns[relation]
    return tuple(own[number].name for number in numbers if number in own)


def _columns(rows: Rows, types: Mapping[int, TypeRow]) -> dict[int, dict[int, Column]]:
    modifiers = {(row["type"], row["typmod"]): row["modifier"] or "" for row in rows["modifiers"]}
    collations = {row["oid"]: row["sql"] for row in rows["collations"]}
    checked = {row["type"] for row in rows["constraints"] if row["kind"] == "c" and row["type"]}
    names = TypeNames(types, modifiers)
    found: dict[int, dict[int, Column]] = defaultdict(dict)
    for row in rows["columns"]:
        own = types[row["type"]]
        base, base_typmod, not_null = names.base(row["type"], row["typmod"])
        collation = row["collation"]
        found[row["relation"]][row["number"]] = Column(
            name=row["name"],
            number=row["number"],
            type_oid=row["type"],
            typmod=row["typmod"],
            type_sql=names.sql(row["type"], row["typmod"]),
            base_type=base.oid,
            type_category=own.category,
            is_enum=base.kind == "e",
            is_domain=own.kind == "d",
            not_null=row["not_null"] or not_null,
            generated=row["generated"] != "",
            collation=collations[collation] if collation not in (0, _DEFAULT_COLLATION) else None,
            base_sql=names.sql(base.oid, base_typmod),
            base_typmod=base_typmod,
            domain_checked=own.kind == "d" and not checked.isdisjoint(names.domains(row["type"])),
            enum_labels=base.labels,
        )
    return found


def _function(row: Row, visible: Mapping[int, str], extensions: Mapping[Object, str], uses: Uses) -> Function:
    return Function(
        oid=row["oid"],
        schema=visible.get(row["schema"], ""),
        name=row["name"],
        kind=row["kind"],
        min_args=row["min_args"],
        internal=row["internal"],
        max_args=row["max_args"],
        extension=extensions.get(Object(Class.PROC, row["oid"])),
        version=row["version"],
        input_types=tuple(row["input_types"]),
        calls=uses.aggregates.get(row["oid"], frozenset()),
    )


def _operator(row: Row, visible: Mapping[int, str], extensions: Mapping[Object, str], uses: Uses) -> Operator:
    return Operator(
        oid=row["oid"],
        schema=visible[row["schema"]],
        name=row["name"],
        functions=uses.operators[row["oid"]],
        extension=extensions.get(Object(Class.OPERATOR, row["oid"])),
    )


def _user_types(
    types: Mapping[int, TypeRow], visible: Mapping[int, str], extensions: Mapping[Object, str], uses: Uses
) -> Iterable[Type]:
    schemas = frozenset(visible.values())
    for row in types.values():
        if row.oid >= FIRST_NORMAL_OBJECT_ID and row.schema in schemas:
            yield Type(
                oid=row.oid,
                schema=row.schema,
                name=row.name,
                kind=row.kind,
                functions=uses.type(row.oid).functions,
                relation=row.relation,
                extension=extensions.get(Object(Class.TYPE, row.oid)),
            )
