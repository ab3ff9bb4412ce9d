# ruff: noqa: S608 -- composed of constants alone
"""The queries that read one database's system catalogs, set-based, for PostgreSQL 14 to 18.

Each :class:`Source` is one system catalog, its rows grouped by the object that they belong to. What initdb made (OIDs
below 16384) is read at once and kept; of the rest only what changed is read again. The queries read in one snapshot and
call nothing that looks into the catalog at another time, but for :data:`DEFINITIONS` and :data:`MODIFIERS`. Other
sessions' temporary objects are left out: nobody else can use them, and applications make them all the time. A session's
own stand in a schema that is called ``pg_temp`` here.
``xmin`` is a version number: every change of a row gives it a new one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.catalog.reach import Class

_FIRST = 16384
_OWN = "pg_catalog.pg_my_temp_schema()"
_NOT_TEMPORARY = rf"(nspname !~ '^pg_(toast_)?temp_' OR oid = {_OWN})"
_NAME = f"CASE WHEN oid = {_OWN} THEN 'pg_temp' ELSE nspname END"

# A visible row version is known by its place and the transaction that made it, so the set of them changes with every
# CREATE, ALTER and DROP. VACUUM, ANALYZE and nextval() change rows in place or none. What was made before the horizon,
# the oldest transaction that was running when these rows were first read, can only disappear: it is enough to count it.
_HASH = "pg_catalog.hashtidextended(ctid, xmin::pg_catalog.text::pg_catalog.int8)"
_RECENT = "pg_catalog.age(xmin) <= (SELECT pg_catalog.age($1::pg_catalog.text::pg_catalog.xid))"


@dataclass(frozen=True, slots=True)
class Source:
    """One system catalog. ``key`` is the OID of the object that a row belongs to; ``rows`` what is read of a row, of
    rows that are as ``where`` says.

    ``of_relations``: the key is a relation's. ``code``: rows are (or their objects have) stored expressions, whose
    version is the row's; they stand under this class in pg_depend, with the OID that the row has in the column ``oid``.
    """

    name: str
    table: str
    key: str
    rows: str
    where: str = "true"
    order: str = ""
    of_relations: bool = False
    code: Class | None = None
    split: bool = True
    """Whether rows below 16384 are initdb's, and kept apart. Not so of schemas: one GRANT on ``public`` changes one."""
    lasting: bool = False
    """Rows disappear only together with the relation that they belong to; others are looked at than are read."""
    state: str = field(init=False)
    """The two numbers that tell any change since the horizon ``$1``; beside the name of the source."""
    recent: str = field(init=False)
    """The keys with rows made since the horizon ``$1``, and the same two numbers of each, as three arrays."""
    counts: str = field(init=False)
    """How many rows initdb made; the other keys, and how many rows each has, as two arrays."""
    changed: str = field(init=False)
    """The rows of the keys ``$1``."""
    builtin: str = field(init=False)
    """The rows that initdb made."""
    users: str = field(init=False)
    """The other rows."""

    def __post_init__(self) -> None:
        table, key, watched = f"pg_catalog.{self.table}", self.key, "true" if self.lasting else self.where
        ours, theirs = (f"{key} < {_FIRST}", f"{key} >= {_FIRST}") if self.split else ("false", "true")
        recent, temporary = _RECENT, "0"
        if self.of_relations:
            recent += f" AND {key} NOT IN (SELECT oid FROM temporary)"
            temporary = f"(SELECT pg_catalog.count(*) FROM {table} JOIN temporary t ON t.oid = {key} WHERE {watched})"
        arrays = "pg_catalog.array_agg(key), pg_catalog.array_agg(rows)"
        order = f" ORDER BY {self.order}" if self.order else ""
        select = f"SELECT {key} AS key, {self.rows} FROM {table} WHERE {self.where}"
        texts = {
            "state": f"SELECT '{self.name}' AS source, pg_catalog.count(*) - {temporary} AS rows, "
            f"pg_catalog.bit_xor({_HASH}) FILTER (WHERE {recent}) AS recent FROM {table} WHERE {watched}",
            "recent": f"SELECT {arrays}, pg_catalog.array_agg(recent) FROM (SELECT {key} AS key, "
            f"pg_catalog.count(*) AS rows, pg_catalog.bit_xor({_HASH}) AS recent "
            f"FROM {table} WHERE {watched} AND {_RECENT} GROUP BY {key}) AS versions",
            "counts": f"SELECT (SELECT pg_catalog.count(*) FROM {table} WHERE {self.where} AND {ours}), {arrays} "
            f"FROM (SELECT {key} AS key, pg_catalog.count(*) AS rows FROM {table} WHERE {self.where} AND {theirs} "
            f"GROUP BY {key}) AS counts",
            "changed": f"{select} AND {key} = ANY($1::pg_catalog.oid[]){order}",
            "builtin": f"{select} AND {ours}{order}",
            "users": f"{select} AND {theirs}{order}",
        }
        for name, text in texts.items():
            object.__setattr__(self, name, text)


_SOURCES = (
    Source("schemas", "pg_namespace", "oid",
           f"{_NAME} AS name, pg_catalog.quote_ident({_NAME}) AS sql, NOT {_NOT_TEMPORARY} AS temporary", split=False),
    Source("relations", "pg_class", "oid",
           "relname AS name, relnamespace AS schema, relkind::text AS kind, relrowsecurity AS row_security, "
           "reltoastrelid AS toast", f"(relpersistence <> 't' OR relnamespace = {_OWN})"),
    Source("columns", "pg_attribute", "attrelid",
           "attname AS name, attnum AS number, atttypid AS type, atttypmod AS typmod, attnotnull AS not_null, "
           "attgenerated::text AS generated, attcollation AS collation",
           "attnum > 0 AND NOT attisdropped", "attrelid, attnum", of_relations=True, lasting=True),
    Source("types", "pg_type", "oid",
           "oid, typname AS name, pg_catalog.quote_ident(typname) AS sql, typnamespace AS schema, "
           "typtype::text AS kind, typcategory::text AS category, typbasetype AS base, typtypmod AS typmod, "
           "typnotnull AS not_null, typrelid AS relation, typelem AS element, "
           "typsubscript = 'pg_catalog.array_subscript_handler'::pg_catalog.regproc AND typelem <> 0 "
           "AND typstorage <> 'p' AS is_array, "
           "ARRAY[typoutput, typsend]::pg_catalog.oid[] AS outputs, "
           "ARRAY[typinput, typreceive, typmodin, typmodout, typsubscript]::pg_catalog.oid[] AS inputs",
           f"typnamespace IN (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE {_NOT_TEMPORARY})", code=Class.TYPE),
    Source("enums", "pg_enum", "enumtypid", "enumlabel::pg_catalog.text AS label", order="enumtypid, enumsortorder"),
    Source("ranges", "pg_range", "rngtypid",
           "rngmultitypid AS multirange, rngsubtype AS subtype, "
           "ARRAY[rngcanonical, rngsubdiff]::pg_catalog.oid[] AS functions"),
    Source("collations", "pg_collation", "oid",
           "collnamespace AS schema, pg_catalog.quote_ident(collname) AS sql"),
    Source("functions", "pg_proc", "oid",
           "proname AS name, pronamespace AS schema, prokind::text AS kind, pronargs - pronargdefaults AS min_args, "
           "CASE WHEN provariadic = 0 THEN pronargs END AS max_args, proargtypes::pg_catalog.oid[] AS input_types, "
           "xmin::pg_catalog.text::pg_catalog.int8 AS version, "
           "CASE WHEN prolang = 12 THEN prosrc ELSE '' END AS internal, prolang IN (12, 13) AS compiled"),
    Source("aggregates", "pg_aggregate", "aggfnoid::pg_catalog.oid",
           "ARRAY[aggtransfn, aggfinalfn, aggcombinefn, aggserialfn, aggdeserialfn, aggmtransfn, aggminvtransfn, "
           "aggmfinalfn]::pg_catalog.oid[] AS functions", f"aggfnoid::pg_catalog.oid >= {_FIRST}"),
    Source("operators", "pg_operator", "oid",
           "oprname AS name, oprnamespace AS schema, ARRAY[oprcode, oprrest, oprjoin]::pg_catalog.oid[] AS functions, "
           "ARRAY[oprcom, oprnegate] AS partners"),
    Source("casts", "pg_cast", "oid",
           "castsource AS source, casttarget AS target, castfunc AS function, castcontext::text AS context",
           f"oid >= {_FIRST} AND castfunc <> 0"),
    Source("operator_classes", "pg_opclass", "oid", "opcintype AS type, opcfamily AS family"),
    Source("support_functions", "pg_amproc", "oid", "amprocfamily AS family, amproc::pg_catalog.oid AS function",
           f"amproc::pg_catalog.oid >= {_FIRST}"),
    Source("family_operators", "pg_amop", "oid", "amopfamily AS family, amopopr AS operator", f"amopopr >= {_FIRST}"),
    Source("rules", "pg_rewrite", "ev_class", "oid, rulename AS name, ev_type::text AS event",
           "ev_enabled <> 'D'", of_relations=True, code=Class.RULE),
    Source("policies", "pg_policy", "polrelid", "oid, polcmd::text AS command", of_relations=True, code=Class.POLICY),
    # What the server itself attached to a foreign or deferrable key is internal, and trusted.
    Source("triggers", "pg_trigger", "tgrelid", "oid, tgfoid AS function, tgtype AS events",
           "NOT tgisinternal AND tgenabled <> 'D'", of_relations=True, code=Class.TRIGGER),
    Source("defaults", "pg_attrdef", "adrelid", "oid, adnum AS number", of_relations=True, code=Class.DEFAULT),
    Source("constraints", "pg_constraint", "conrelid",
           "oid, contype::text AS kind, confrelid AS referenced, confupdtype::text AS on_update, "
           "confdeltype::text AS on_delete, conkey AS columns, confkey AS referenced_columns, "
           "COALESCE(conpfeqop, '{}') || COALESCE(conppeqop, '{}') "
           "|| COALESCE(conffeqop, '{}') || COALESCE(conexclop, '{}') AS operators",
           "contype IN ('c', 'f', 'x') AND conrelid <> 0", of_relations=True, code=Class.CONSTRAINT),
    Source("domain_checks", "pg_constraint", "contypid", "oid", "contype = 'c' AND contypid <> 0",
           code=Class.CONSTRAINT),
    Source("inheritance", "pg_inherits", "inhrelid", "inhparent AS parent", order="inhrelid, inhseqno",
           of_relations=True),
    Source("indexes", "pg_index", "indrelid",
           "indexrelid AS oid, indclass::pg_catalog.oid[] AS classes, "
           "(indkey::pg_catalog.int2[])[0:indnkeyatts - 1] AS numbers, "
           "indisunique AND indisvalid AND indimmediate AND indpred IS NULL AND indexprs IS NULL AS is_key, "
           "indisvalid AND indpred IS NULL AS is_whole",
           order="indrelid, NOT indisprimary, indexrelid", of_relations=True, code=Class.RELATION),
    Source("partitioned", "pg_partitioned_table", "partrelid",
           "partrelid AS oid, partclass::pg_catalog.oid[] AS classes, "
           "partattrs::pg_catalog.int2[] || ARRAY(SELECT m[1]::pg_catalog.int2 "
           r"FROM pg_catalog.regexp_matches(partexprs::pg_catalog.text, ':varattno (\d+) ', 'g') AS m) AS numbers",
           of_relations=True, code=Class.RELATION),
    Source("extensions", "pg_extension", "oid", "extname AS name"),
    Source("members", "pg_depend", "refobjid", "classid AS class, objid AS oid",
           "deptype = 'e' AND refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass"),
)  # fmt: skip

SOURCES = {source.name: source for source in _SOURCES}
"""In an order in which what a relation owns comes after the relations."""

BUILTIN_COLUMNS = (
    f"SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute WHERE {SOURCES['columns'].where} AND attrelid < {_FIRST}"
)

STATES = (
    "WITH temporary AS MATERIALIZED "
    f"(SELECT oid FROM pg_catalog.pg_class WHERE relpersistence = 't' AND relnamespace <> {_OWN}) "
    + " UNION ALL ".join(source.state for source in _SOURCES)
)

HORIZON = "SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::pg_catalog.xid::pg_catalog.text"

# The same text in two databases, or before and after a restart, may stand for different objects: numbers are used again
# when a server is set up anew, restored or failed over.
IDENTITY = """
SELECT pg_catalog.concat_ws(' ', pg_catalog.pg_postmaster_start_time(), d.oid, pg_catalog.version())
FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()
"""

_WANTED = """
WITH wanted AS (SELECT * FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.oid[]),
                                         pg_catalog.unnest($2::pg_catalog.oid[])) AS w (class, object))
"""

# What stored expressions, indexes, partition keys and domains use. It changes only together with their own row.
DEPENDENCIES = f"""{_WANTED}
SELECT DISTINCT classid AS user_class, objid AS user, refclassid AS class, refobjid AS oid
FROM wanted JOIN pg_catalog.pg_depend ON classid = class AND objid = object
WHERE deptype IN ('n', 'a', 'i') AND (
  (classid IN ('pg_catalog.pg_rewrite'::pg_catalog.regclass, 'pg_catalog.pg_policy'::pg_catalog.regclass,
               'pg_catalog.pg_trigger'::pg_catalog.regclass, 'pg_catalog.pg_attrdef'::pg_catalog.regclass,
               'pg_catalog.pg_constraint'::pg_catalog.regclass)
   AND refclassid IN ('pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_proc'::pg_catalog.regclass,
                      'pg_catalog.pg_type'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass))
  OR (classid IN ('pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_type'::pg_catalog.regclass)
      AND objsubid = 0
      AND refclassid IN ('pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass)))
"""


def _trees(table: str, of_class: str, key: str, tree: str) -> str:
    return (
        f"SELECT class, object, {tree} AS tree FROM wanted JOIN pg_catalog.{table} ON {key} = object "
        f"AND class = 'pg_catalog.{of_class}'::pg_catalog.regclass"
    )


_TREES = " UNION ALL ".join(
    _trees(*one)
    for one in (
        ("pg_rewrite", "pg_rewrite", "oid", "ev_action::pg_catalog.text || ' ' || ev_qual::pg_catalog.text"),
        ("pg_policy", "pg_policy", "oid", "pg_catalog.concat(polqual, ' ', polwithcheck)"),
        ("pg_attrdef", "pg_attrdef", "oid", "adbin::pg_catalog.text"),
        ("pg_constraint", "pg_constraint", "oid", "conbin::pg_catalog.text"),
        ("pg_trigger", "pg_trigger", "oid", "tgqual::pg_catalog.text"),
        ("pg_type", "pg_type", "oid", "typdefaultbin::pg_catalog.text"),
        ("pg_index", "pg_class", "indexrelid", "pg_catalog.concat(indexprs, ' ', indpred)"),
        ("pg_partitioned_table", "pg_class", "partrelid", "partexprs::pg_catalog.text"),
    )
)

# Dependencies on what initdb pinned are recorded nowhere, so the stored expressions are asked themselves. Names in a
# tree escape their spaces, so no identifier can look like a field of a node (outfuncs.c, outToken).
TREES = rf"""{_WANTED}
SELECT class, object AS oid,
       ARRAY(SELECT DISTINCT m[1]::pg_catalog.oid
             FROM pg_catalog.regexp_matches(tree, ':relid (\d+) ', 'g') AS m WHERE m[1] <> '0') AS relations,
       ARRAY(SELECT DISTINCT m[1]::pg_catalog.oid
             FROM pg_catalog.regexp_matches(tree, ':funcid (\d+) ', 'g') AS m) AS functions
FROM ({_TREES}) AS trees WHERE tree IS NOT NULL AND tree <> ' '
"""

# What a view selects, in SQL that names its relations in full (the connection's search_path is empty). A view replaced
# at this very moment may already show its new text: the change that follows has it read again.
DEFINITIONS = """
SELECT oid, pg_catalog.pg_get_viewdef(oid) AS definition FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS oid
"""

# The modifiers of types that extensions bring can be spelled only by the type's own output function.
MODIFIERS = r"""
SELECT type, typmod, pg_catalog.substring(pg_catalog.format_type(type, typmod), '(\([^()]*\))(\[\])*$') AS modifier
FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.oid[]), pg_catalog.unnest($2::pg_catalog.int4[])) AS w (type, typmod)
"""

# Types in other sessions' temporary schemas, should something that lasts use one.
TYPES_IN_USE = SOURCES["types"].changed.replace(SOURCES["types"].where, "true")
