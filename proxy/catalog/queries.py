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

from collections.abc import Sequence
from dataclasses import dataclass, field

from proxy.catalog.announcement import BODY
from proxy.catalog.reach import Class

_FIRST = 16384
_OWN = "pg_catalog.pg_my_temp_schema()"
_NOT_TEMPORARY = rf"(nspname !~ '^pg_(toast_)?temp_' OR oid = {_OWN})"
_NAME = f"CASE WHEN oid = {_OWN} THEN 'pg_temp' ELSE nspname END"

# A visible row version is known by its place and the transaction that made it, so the set of them changes with every
# CREATE, ALTER and DROP. VACUUM, ANALYZE and nextval() change rows in place or none. What was made before the horizon,
# the oldest transaction that was running at the last reading, can only disappear: it is enough to count it.
_HASH = "pg_catalog.hashtidextended(ctid, xmin::pg_catalog.text::pg_catalog.int8)"
_RECENT = "pg_catalog.age(xmin) <= (SELECT before FROM horizons)"
_KEYS = "$keys"
_NUMBER = "::pg_catalog.oid::pg_catalog.int8"
_YOUNG = "(pg_catalog.age(xmin) <= (SELECT now FROM horizons))::pg_catalog.int4"

_ANNOUNCING = "'" + BODY.replace("'", "''") + "'"


@dataclass(frozen=True, slots=True)
class Source:
    """One system catalog. ``key`` is the OID of the object that a row belongs to; ``rows`` what is read of a row, of
    rows that are as ``where`` says. ``::oid`` and ``::oids`` there are numbers, which JSON would put in quotes.

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
    """The name of the source; how many rows there are; how many of them initdb made; and of each row made since the
    last horizon its key, what tells it from others, and whether (1) or not (0) it was made since the present one."""
    counts: str = field(init=False)
    """The keys of users, and how many rows each has, as two arrays."""
    changed: str = field(init=False)
    """The name of the source, and the rows of the keys ``$keys`` as one JSON array. See :func:`changed`."""
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
        made = f"pg_catalog.concat_ws(' ', {key}{_NUMBER}, {_HASH}, {_YOUNG})"
        order = f" ORDER BY {self.order}" if self.order else ""
        rows = self.rows.replace("::oids", "::pg_catalog.oid[]::pg_catalog.int8[]").replace("::oid ", f"{_NUMBER} ")
        select = f"SELECT {key}{_NUMBER} AS key, {rows} FROM {table} WHERE {self.where}"
        wanted = f"{select} AND {key} = ANY({_KEYS}::pg_catalog.oid[]){order}"
        texts = {
            "state": f"SELECT '{self.name}', pg_catalog.count(*) - {temporary}, "
            f"pg_catalog.count(*) FILTER (WHERE {ours}), "
            f"pg_catalog.string_agg({made}, ',') FILTER (WHERE {recent}) FROM {table} WHERE {watched}",
            "counts": "SELECT pg_catalog.array_agg(key), pg_catalog.array_agg(rows) "
            f"FROM (SELECT {key}{_NUMBER} AS key, pg_catalog.count(*) AS rows "
            f"FROM {table} WHERE {self.where} AND {theirs} GROUP BY {key}) AS counts",
            "changed": f"SELECT '{self.name}' AS source, pg_catalog.json_agg(r)::pg_catalog.text AS rows "
            f"FROM ({wanted}) AS r",
            "builtin": f"{select} AND {ours}{order}",
            "users": f"{select} AND {theirs}{order}",
        }
        for name, text in texts.items():
            object.__setattr__(self, name, text)


def _named_in(tree: str) -> str:
    """The numbers of the columns that a stored expression names; 0 is the whole row."""
    return (
        "ARRAY(SELECT DISTINCT m[1]::pg_catalog.int2 "
        rf"FROM pg_catalog.regexp_matches({tree}::pg_catalog.text, ':varattno (-?\d+) ', 'g') AS m)"
    )


# What these make of any value they cannot fail to make: text functions, and whatever B-tree operators compare.
_NEVER_FAILING = """
SELECT oid FROM pg_catalog.pg_proc WHERE oid < 16384 AND proargtypes[0] IN (25, 1042)
  AND proname IN (
    'lower', 'upper', 'btrim', 'ltrim', 'rtrim', 'length', 'char_length', 'octet_length', 'md5', 'textcat')
UNION ALL SELECT compared.oprcode FROM pg_catalog.pg_amop JOIN pg_catalog.pg_operator o ON o.oid = amopopr
  JOIN pg_catalog.pg_operator compared ON compared.oid IN (o.oid, o.oprnegate)
  WHERE amopmethod = 403 AND compared.oid < 16384 AND amoplefttype < 16384 AND amoplefttype <> 2249
"""
_PLAIN_NODES = (
    "VAR CONST FUNCEXPR OPEXPR SCALARARRAYOPEXPR BOOLEXPR NULLTEST BOOLEANTEST CASE CASEEXPR WHEN CASEWHEN COALESCE"
    " COALESCEEXPR RELABELTYPE DISTINCTEXPR COLLATEEXPR ARRAY ARRAYEXPR"
)


def _may_fail(tree: str) -> str:
    """Evaluating a stored expression may raise an error for some values of the columns that it names."""
    text = f"{tree}::pg_catalog.text"
    nodes = "|".join(_PLAIN_NODES.split())
    called = rf"pg_catalog.regexp_matches({text}, ':(?:op)?funcid (\d+) ', 'g') AS f"
    return (
        f"CASE WHEN {text} ~ ':varattno' THEN {text} ~ '\\{{(?!(?:{nodes}) )[A-Z]' OR EXISTS"
        f" (SELECT FROM {called} WHERE f[1]::pg_catalog.oid NOT IN ({_NEVER_FAILING})) ELSE false END"
    )


_SOURCES = (
    Source("schemas", "pg_namespace", "oid",
           f"{_NAME} AS name, pg_catalog.quote_ident({_NAME}) AS sql, NOT {_NOT_TEMPORARY} AS temporary", split=False),
    Source("relations", "pg_class", "oid",
           "relname AS name, relnamespace::oid AS schema, relkind::text AS kind, relrowsecurity AS row_security, "
           "reltoastrelid::oid AS toast", f"(relpersistence <> 't' OR relnamespace = {_OWN})"),
    Source("columns", "pg_attribute", "attrelid",
           "attname AS name, attnum AS number, atttypid::oid AS type, atttypmod AS typmod, attnotnull AS not_null, "
           "attgenerated::text AS generated, attcollation::oid AS collation",
           "attnum > 0 AND NOT attisdropped", "attrelid, attnum", of_relations=True, lasting=True),
    Source("types", "pg_type", "oid",
           "oid::oid AS oid, typname AS name, pg_catalog.quote_ident(typname) AS sql, "
           "typnamespace::oid AS schema, "
           "typtype::text AS kind, typcategory::text AS category, typbasetype::oid AS base, typtypmod AS typmod, "
           "typnotnull AS not_null, typrelid::oid AS relation, typelem::oid AS element, "
           "typsubscript = 'pg_catalog.array_subscript_handler'::pg_catalog.regproc AND typelem <> 0 "
           "AND typstorage <> 'p' AS is_array, "
           "ARRAY[typoutput, typsend]::oids AS outputs, "
           "ARRAY[typinput, typreceive, typmodin, typmodout, typsubscript]::oids AS inputs",
           f"typnamespace IN (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE {_NOT_TEMPORARY})", code=Class.TYPE),
    Source("enums", "pg_enum", "enumtypid", "enumlabel::pg_catalog.text AS label", order="enumtypid, enumsortorder"),
    Source("ranges", "pg_range", "rngtypid",
           "rngmultitypid::oid AS multirange, rngsubtype::oid AS subtype, "
           "ARRAY[rngcanonical, rngsubdiff]::oids AS functions"),
    Source("collations", "pg_collation", "oid",
           "collnamespace::oid AS schema, pg_catalog.quote_ident(collname) AS sql"),
    Source("functions", "pg_proc", "oid",
           "proname AS name, pronamespace::oid AS schema, prokind::text AS kind, "
           "pronargs - pronargdefaults AS min_args, "
           "CASE WHEN provariadic = 0 THEN pronargs END AS max_args, proargtypes::oids AS input_types, "
           "xmin::pg_catalog.text::pg_catalog.int8 AS version, "
           "CASE WHEN prolang = 12 THEN prosrc ELSE '' END AS internal, prolang IN (12, 13) AS compiled"),
    Source("aggregates", "pg_aggregate", "aggfnoid::pg_catalog.oid",
           "ARRAY[aggtransfn, aggfinalfn, aggcombinefn, aggserialfn, aggdeserialfn, aggmtransfn, aggminvtransfn, "
           "aggmfinalfn]::oids AS functions", f"aggfnoid::pg_catalog.oid >= {_FIRST}"),
    Source("operators", "pg_operator", "oid",
           "oprname AS name, oprnamespace::oid AS schema, ARRAY[oprcode, oprrest, oprjoin]::oids AS functions, "
           "ARRAY[oprcom, oprnegate]::oids AS partners"),
    Source("casts", "pg_cast", "oid",
           "castsource::oid AS source, casttarget::oid AS target, "
           "castfunc::oid AS function, castcontext::text AS context",
           f"oid >= {_FIRST} AND castfunc <> 0"),
    Source("operator_classes", "pg_opclass", "oid", "opcintype::oid AS type, opcfamily::oid AS family"),
    Source("support_functions", "pg_amproc", "oid", "amprocfamily::oid AS family, amproc::oid AS function",
           f"amproc::pg_catalog.oid >= {_FIRST}"),
    Source("family_operators", "pg_amop", "oid", "amopfamily::oid AS family, amopopr::oid AS operator",
           f"amopopr >= {_FIRST}"),
    Source("rules", "pg_rewrite", "ev_class", "oid::oid AS oid, rulename AS name, ev_type::text AS event",
           "ev_enabled <> 'D'", of_relations=True, code=Class.RULE),
    # Of whole rows pg_depend tells nothing (dependency.c, find_expr_references_walker).
    Source("policies", "pg_policy", "polrelid",
           "oid::oid AS oid, polname AS name, polcmd::text AS command, "
           "ARRAY(SELECT pg_catalog.concat(d.refobjid, ' ', d.refobjsubid) FROM pg_catalog.pg_depend d "
           "WHERE d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND d.objid = pg_policy.oid "
           "AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass) AS columns, "
           r"pg_catalog.concat(polqual, ' ', polwithcheck) ~ ':varattno 0 ' AS rows", of_relations=True,
           code=Class.POLICY),
    # Of other kinds than lists nothing is used of columns that a query does not name.
    Source("statistics", "pg_statistic_ext", "stxrelid",
           "stxkeys::pg_catalog.int2[] AS numbers, stxexprs IS NOT NULL AS has_expressions, "
           f"{_named_in('stxexprs')} AS named, 'm' = ANY (stxkind) AS has_list, "
           f"COALESCE({_may_fail('stxexprs')}, false) AS may_fail", of_relations=True),
    # What the server itself attached to a foreign or deferrable key is internal, and trusted.
    Source("triggers", "pg_trigger", "tgrelid", "oid::oid AS oid, tgfoid::oid AS function, tgtype AS events",
           "NOT tgisinternal AND tgenabled <> 'D'", of_relations=True, code=Class.TRIGGER),
    Source("defaults", "pg_attrdef", "adrelid",
           f"oid::oid AS oid, adnum AS number, {_named_in('adbin')} AS columns, {_may_fail('adbin')} AS may_fail",
           of_relations=True,
           code=Class.DEFAULT),
    Source("constraints", "pg_constraint", "conrelid",
           "oid::oid AS oid, conname AS name, contype::text AS kind, confrelid::oid AS referenced, "
           "confupdtype::text AS on_update, convalidated AS validated, condeferrable AS deferrable, "
           "confdeltype::text AS on_delete, conkey AS columns, confkey AS referenced_columns, "
           "(COALESCE(conpfeqop, '{}') || COALESCE(conppeqop, '{}') "
           "|| COALESCE(conffeqop, '{}') || COALESCE(conexclop, '{}'))::oids AS operators",
           "contype IN ('c', 'f', 'x') AND conrelid <> 0", of_relations=True, code=Class.CONSTRAINT),
    Source("domain_checks", "pg_constraint", "contypid", "oid::oid AS oid", "contype = 'c' AND contypid <> 0",
           code=Class.CONSTRAINT),
    Source("inheritance", "pg_inherits", "inhrelid", "inhparent::oid AS parent", order="inhrelid, inhseqno",
           of_relations=True),
    Source("indexes", "pg_index", "indrelid",
           "indexrelid::oid AS oid, indclass::oids AS classes, "
           "(indkey::pg_catalog.int2[])[0:indnkeyatts - 1] AS numbers, "
           "indisunique AND indisvalid AND indimmediate AND indpred IS NULL AND indexprs IS NULL AS is_key, "
           "indisvalid AND indpred IS NULL AS is_whole, indisvalid AS is_valid, "
           f"indkey::pg_catalog.int2[] AS every, {_named_in('indexprs')} || {_named_in('indpred')} AS named, "
           "indexprs IS NULL AND indpred IS NULL AS is_plain, indisunique OR indisexclusion AS is_unique, "
           # From version 15 on.
           "indisunique AND COALESCE((pg_catalog.to_jsonb(pg_index) OPERATOR(pg_catalog.->>) 'indnullsnotdistinct')"
           "::pg_catalog.bool, false) AS nulls_alike, "
           f"{_may_fail('indexprs')} OR {_may_fail('indpred')} AS may_fail",
           order="indrelid, NOT indisprimary, indexrelid", of_relations=True, code=Class.RELATION),
    Source("partitioned", "pg_partitioned_table", "partrelid",
           "partrelid::oid AS oid, partclass::oids AS classes, "
           f"partattrs::pg_catalog.int2[] || {_named_in('partexprs')} AS numbers",
           of_relations=True, code=Class.RELATION),
    Source("event_triggers", "pg_event_trigger", "oid",
           "evtname AS name, evtevent::pg_catalog.text AS event, evtfoid::oid AS function, "
           "pg_catalog.array_to_string(evttags, ',') AS tags, "
           "COALESCE((SELECT p.xmin::pg_catalog.text::pg_catalog.int8 FROM pg_catalog.pg_proc p "
           "JOIN pg_catalog.pg_language l ON l.oid = p.prolang "
           f"WHERE p.oid = evtfoid AND l.lanname = 'plpgsql' AND p.prosrc = {_ANNOUNCING}), 0) AS announces",
           "evtenabled <> 'D'", order="oid"),
    Source("extensions", "pg_extension", "oid", "extname AS name"),
    Source("members", "pg_depend", "refobjid", "classid::oid AS class, objid::oid AS oid",
           "deptype = 'e' AND refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass"),
)  # fmt: skip

SOURCES = {source.name: source for source in _SOURCES}
"""In an order in which what a relation owns comes after the relations."""

STATES = (
    "WITH temporary AS MATERIALIZED "
    f"(SELECT oid FROM pg_catalog.pg_class WHERE relpersistence = 't' AND relnamespace <> {_OWN}), "
    "horizon AS MATERIALIZED "
    "(SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::pg_catalog.xid AS xid), "
    "horizons AS MATERIALIZED (SELECT pg_catalog.age(COALESCE(NULLIF($1, '')::pg_catalog.xid, xid)) AS before, "
    "pg_catalog.age(xid) AS now FROM horizon) "
    "SELECT '' AS source, xid::pg_catalog.text::pg_catalog.int8 AS rows, 0::pg_catalog.int8 AS builtin, "
    "NULL AS made FROM horizon" + "".join(f" UNION ALL {source.state}" for source in _SOURCES)
)
"""The present horizon, and what was made in each source since the one before (``$1``, '' where there was none)."""

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
_DEPENDENCIES = """
SELECT DISTINCT classid AS user_class, objid AS user, refclassid AS class, refobjid AS oid,
       NULL::pg_catalog.oid[] AS relations, NULL::pg_catalog.oid[] AS functions
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
# Up to PostgreSQL 14 what generates a column is a dependency of the column (heap.c, StoreAttrDefault).
_GENERATED = """
UNION SELECT class, object, d.refclassid, d.refobjid, NULL, NULL
FROM wanted JOIN pg_catalog.pg_attrdef a ON class = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND a.oid = object
JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
  AND d.objid = a.adrelid AND d.objsubid = a.adnum
WHERE d.deptype = 'a' AND d.refclassid IN (
  'pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_proc'::pg_catalog.regclass,
  'pg_catalog.pg_type'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass)
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
CODE = rf"""{_WANTED} {_DEPENDENCIES} {_GENERATED}
UNION ALL
SELECT class AS user_class, object AS user, NULL AS class, NULL AS oid,
       ARRAY(SELECT DISTINCT m[1]::pg_catalog.oid
             FROM pg_catalog.regexp_matches(tree, ':relid (\d+) ', 'g') AS m WHERE m[1] <> '0') AS relations,
       ARRAY(SELECT DISTINCT m[1]::pg_catalog.oid
             FROM pg_catalog.regexp_matches(tree, ':funcid (\d+) ', 'g') AS m) AS functions
FROM ({_TREES}) AS trees WHERE tree IS NOT NULL AND tree <> ' '
"""
"""What stored code uses: a row for each object that it depends on, and one without that for what its trees name."""

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
TYPES_IN_USE = SOURCES["types"].changed.replace(SOURCES["types"].where, "true").replace(_KEYS, "$1")


def changed(sources: Sequence[Source]) -> str:
    """One query for the rows of some keys of each of ``sources``, which are its parameters in that order."""
    texts = (source.changed.replace(_KEYS, f"${number}") for number, source in enumerate(sources, start=1))
    return " UNION ALL ".join(texts)
