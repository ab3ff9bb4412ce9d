"""The queries that read one database's system catalogs, set-based, for PostgreSQL 14 to 18.

They read in one snapshot and call nothing that looks into the catalog at another time, but for :data:`VIEWS`. Other
sessions' temporary objects are left out: nobody else can use them, and applications make them all the time.
``xmin`` is a version number: every change of a row gives it a new one.
"""

from __future__ import annotations

SCHEMAS = r"""
SELECT oid, nspname AS name, pg_catalog.quote_ident(nspname) AS sql, nspname ~ '^pg_(toast_)?temp_' AS temporary
FROM pg_catalog.pg_namespace
"""

RELATIONS = """
SELECT oid, relname AS name, relnamespace AS schema, relkind::text AS kind, relrowsecurity AS row_security,
       reltoastrelid AS toast
FROM pg_catalog.pg_class WHERE relpersistence <> 't'
"""

# What a view selects, in SQL that names its relations in full (the connection's search_path is empty). A view replaced
# at this very moment may already show its new text: the change that follows has the catalog read again.
VIEWS = """
SELECT oid, pg_catalog.pg_get_viewdef(oid) AS definition
FROM pg_catalog.pg_class WHERE relkind = 'v' AND oid >= 16384 AND relpersistence <> 't'
"""

COLUMNS = """
SELECT a.attrelid AS relation, a.attname AS name, a.attnum AS number, a.atttypid AS type, a.atttypmod AS typmod,
       a.attnotnull AS not_null, a.attgenerated::text AS generated, a.attcollation AS collation
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relpersistence <> 't' AND c.relkind IN ('r','p','v','m','f','c','S')
ORDER BY a.attrelid, a.attnum
"""

TYPES = """
SELECT t.oid, t.typname AS name, pg_catalog.quote_ident(t.typname) AS sql, t.typnamespace AS schema,
       t.typtype::text AS kind, t.typcategory::text AS category, t.typbasetype AS base, t.typtypmod AS typmod,
       t.typnotnull AS not_null, t.typrelid AS relation, t.typelem AS element,
       t.typsubscript = 'pg_catalog.array_subscript_handler'::pg_catalog.regproc AND t.typelem <> 0
         AND t.typstorage <> 'p' AS is_array,
       ARRAY[t.typoutput, t.typsend]::pg_catalog.oid[] AS outputs,
       ARRAY[t.typinput, t.typreceive, t.typmodin, t.typmodout, t.typsubscript]::pg_catalog.oid[] AS inputs,
       COALESCE(r.rngsubtype, 0) AS subtype,
       ARRAY[r.rngcanonical, r.rngsubdiff]::pg_catalog.oid[] AS range_functions,
       ARRAY(SELECT e.enumlabel::pg_catalog.text FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid
             ORDER BY e.enumsortorder) AS labels
FROM pg_catalog.pg_type t
LEFT JOIN pg_catalog.pg_range r ON t.oid IN (r.rngtypid, r.rngmultitypid)
"""

# The modifiers of types that extensions bring can be spelled only by the type's own output function.
MODIFIERS = r"""
SELECT type, typmod, pg_catalog.substring(pg_catalog.format_type(type, typmod), '(\([^()]*\))(\[\])*$') AS modifier
FROM (SELECT atttypid AS type, atttypmod AS typmod FROM pg_catalog.pg_attribute WHERE atttypmod >= 0 AND attnum > 0
      UNION SELECT typbasetype, typtypmod FROM pg_catalog.pg_type WHERE typtypmod >= 0
      UNION SELECT t.typelem, a.atttypmod FROM pg_catalog.pg_attribute a
        JOIN pg_catalog.pg_type t ON t.oid = a.atttypid AND t.typelem <> 0 WHERE a.atttypmod >= 0 AND a.attnum > 0
      UNION SELECT e.typelem, t.typtypmod FROM pg_catalog.pg_type t
        JOIN pg_catalog.pg_type e ON e.oid = t.typbasetype AND e.typelem <> 0 WHERE t.typtypmod >= 0) AS used
WHERE type >= 16384
"""

COLLATIONS = """
SELECT c.oid, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.collname) AS sql
FROM pg_catalog.pg_collation c JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace
WHERE c.oid IN (SELECT attcollation FROM pg_catalog.pg_attribute)
"""

FUNCTIONS = """
SELECT oid, proname AS name, pronamespace AS schema, prokind::text AS kind, pronargs - pronargdefaults AS min_args,
       CASE WHEN provariadic = 0 THEN pronargs END AS max_args, proargtypes::pg_catalog.oid[] AS input_types,
       xmin::pg_catalog.text::pg_catalog.int8 AS version, CASE WHEN prolang = 12 THEN prosrc ELSE '' END AS internal
FROM pg_catalog.pg_proc
"""

AGGREGATES = """
SELECT aggfnoid::pg_catalog.oid AS oid,
       ARRAY[aggtransfn, aggfinalfn, aggcombinefn, aggserialfn, aggdeserialfn, aggmtransfn, aggminvtransfn,
             aggmfinalfn]::pg_catalog.oid[] AS functions
FROM pg_catalog.pg_aggregate WHERE aggfnoid::pg_catalog.oid >= 16384
"""

OPERATORS = """
SELECT oid, oprname AS name, oprnamespace AS schema, ARRAY[oprcode, oprrest, oprjoin]::pg_catalog.oid[] AS functions,
       ARRAY[oprcom, oprnegate] AS partners
FROM pg_catalog.pg_operator
"""

CASTS = """
SELECT castsource AS source, casttarget AS target, castfunc AS function, castcontext::text AS context
FROM pg_catalog.pg_cast WHERE oid >= 16384 AND castfunc <> 0
"""

OPERATOR_CLASSES = "SELECT oid, opcintype AS type, opcfamily AS family FROM pg_catalog.pg_opclass"

FAMILY_MEMBERS = """
SELECT amprocfamily AS family, amproc::pg_catalog.oid AS function, 0::pg_catalog.oid AS operator
FROM pg_catalog.pg_amproc WHERE amproc::pg_catalog.oid >= 16384
UNION SELECT amopfamily, 0, amopopr FROM pg_catalog.pg_amop WHERE amopopr >= 16384
"""

RULES = """
SELECT oid, ev_class AS relation, rulename AS name, ev_type::text AS event
FROM pg_catalog.pg_rewrite WHERE ev_enabled <> 'D'
"""

POLICIES = "SELECT oid, polrelid AS relation, polcmd::text AS command FROM pg_catalog.pg_policy"

# What the server itself attached to a foreign or deferrable key is internal, and trusted.
TRIGGERS = """
SELECT oid, tgrelid AS relation, tgfoid AS function, tgtype AS events
FROM pg_catalog.pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D'
"""

DEFAULTS = "SELECT oid, adrelid AS relation, adnum AS number FROM pg_catalog.pg_attrdef"

CONSTRAINTS = """
SELECT oid, contype::text AS kind, conrelid AS relation, contypid AS type, confrelid AS referenced,
       confupdtype::text AS on_update, confdeltype::text AS on_delete, conkey AS columns, confkey AS referenced_columns,
       COALESCE(conpfeqop, '{}') || COALESCE(conppeqop, '{}') || COALESCE(conffeqop, '{}')
         || COALESCE(conexclop, '{}') AS operators
FROM pg_catalog.pg_constraint WHERE contype IN ('c', 'f', 'x')
"""

INHERITANCE = """
SELECT inhrelid AS child, inhparent AS parent FROM pg_catalog.pg_inherits ORDER BY inhrelid, inhseqno
"""

INDEXES = """
SELECT indexrelid AS oid, indrelid AS relation, indclass::pg_catalog.oid[] AS classes,
       (indkey::pg_catalog.int2[])[0:indnkeyatts - 1] AS numbers,
       indisunique AND indisvalid AND indimmediate AND indpred IS NULL AND indexprs IS NULL AS is_key
FROM pg_catalog.pg_index ORDER BY indrelid, NOT indisprimary, indexrelid
"""

PARTITIONED = r"""
SELECT partrelid AS relation, partclass::pg_catalog.oid[] AS classes,
       partattrs::pg_catalog.int2[] || ARRAY(
         SELECT m[1]::pg_catalog.int2
         FROM pg_catalog.regexp_matches(partexprs::pg_catalog.text, ':varattno (\d+) ', 'g') AS m) AS numbers
FROM pg_catalog.pg_partitioned_table
"""

# Rules, policies, triggers, defaults, constraints, indexes, partition keys and domains: what each of them uses.
DEPENDENCIES = """
SELECT DISTINCT classid AS user_class, objid AS user, refclassid AS class, refobjid AS oid
FROM pg_catalog.pg_depend
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

EXTENSIONS = """
SELECT d.classid AS class, d.objid AS oid, e.extname AS name
FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
WHERE d.deptype = 'e' AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
"""

# Dependencies on what initdb pinned are recorded nowhere, so the stored expressions are asked themselves.
_TREES = """
SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass::pg_catalog.oid AS class, oid,
       xmin::pg_catalog.text::pg_catalog.int8 AS version,
       ev_action::pg_catalog.text || ' ' || ev_qual::pg_catalog.text AS tree
FROM pg_catalog.pg_rewrite
UNION ALL SELECT 'pg_catalog.pg_policy'::pg_catalog.regclass, oid, xmin::pg_catalog.text::pg_catalog.int8,
       pg_catalog.concat(polqual, ' ', polwithcheck) FROM pg_catalog.pg_policy
UNION ALL SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass, oid, xmin::pg_catalog.text::pg_catalog.int8,
       adbin::pg_catalog.text FROM pg_catalog.pg_attrdef
UNION ALL SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, oid, xmin::pg_catalog.text::pg_catalog.int8,
       conbin::pg_catalog.text FROM pg_catalog.pg_constraint WHERE conbin IS NOT NULL
UNION ALL SELECT 'pg_catalog.pg_trigger'::pg_catalog.regclass, oid, xmin::pg_catalog.text::pg_catalog.int8,
       tgqual::pg_catalog.text FROM pg_catalog.pg_trigger WHERE tgqual IS NOT NULL
UNION ALL SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, oid, xmin::pg_catalog.text::pg_catalog.int8,
       typdefaultbin::pg_catalog.text FROM pg_catalog.pg_type WHERE typdefaultbin IS NOT NULL
UNION ALL SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, indexrelid, xmin::pg_catalog.text::pg_catalog.int8,
       pg_catalog.concat(indexprs, ' ', indpred) FROM pg_catalog.pg_index
       WHERE indexprs IS NOT NULL OR indpred IS NOT NULL
UNION ALL SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, partrelid, xmin::pg_catalog.text::pg_catalog.int8,
       partexprs::pg_catalog.text FROM pg_catalog.pg_partitioned_table WHERE partexprs IS NOT NULL
"""

TREES = f"SELECT class, oid, version FROM ({_TREES}) AS trees"  # noqa: S608 -- composed of constants

# Names in a tree escape their spaces, so no identifier can look like a field of a node (outfuncs.c, outToken).
TREE_REFERENCES = rf"""
SELECT class, oid, version,
       ARRAY(SELECT DISTINCT m[1]::pg_catalog.oid
             FROM pg_catalog.regexp_matches(tree, ':relid (\d+) ', 'g') AS m WHERE m[1] <> '0') AS relations,
       ARRAY(SELECT DISTINCT m[1]::pg_catalog.oid
             FROM pg_catalog.regexp_matches(tree, ':funcid (\d+) ', 'g') AS m) AS functions
FROM ({_TREES}) AS trees
WHERE (class, oid) IN (SELECT * FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.oid[]),
                                                pg_catalog.unnest($2::pg_catalog.oid[])) AS wanted)
"""  # noqa: S608 -- composed of constants

_TEMPORARY = "(SELECT oid FROM pg_catalog.pg_class WHERE relpersistence = 't')"

# Each system catalog that the queries above read, with the condition that leaves temporary objects out.
_WATCHED = {
    "pg_namespace": r"nspname !~ '^pg_(toast_)?temp_'",
    "pg_class": "relpersistence <> 't'",
    "pg_attribute": f"attrelid NOT IN {_TEMPORARY}",
    "pg_type": "typrelid = 0 AND typcategory <> 'A'",
    "pg_enum": "true",
    "pg_range": "true",
    "pg_collation": "true",
    "pg_proc": "true",
    "pg_aggregate": "true",
    "pg_operator": "true",
    "pg_cast": "true",
    "pg_opclass": "true",
    "pg_amproc": "true",
    "pg_amop": "true",
    "pg_rewrite": f"ev_class NOT IN {_TEMPORARY}",
    "pg_policy": f"polrelid NOT IN {_TEMPORARY}",
    "pg_trigger": f"tgrelid NOT IN {_TEMPORARY}",
    "pg_attrdef": f"adrelid NOT IN {_TEMPORARY}",
    "pg_constraint": f"conrelid NOT IN {_TEMPORARY}",
    "pg_inherits": f"inhrelid NOT IN {_TEMPORARY}",
    "pg_index": f"indrelid NOT IN {_TEMPORARY}",
    "pg_partitioned_table": f"partrelid NOT IN {_TEMPORARY}",
    "pg_depend": "deptype = 'e'",
    "pg_extension": "true",
}

# A visible row version is known by its place and the transaction that made it, so the set of them changes with every
# CREATE, ALTER and DROP. VACUUM, ANALYZE and nextval() change rows in place or none.


def _state(table: str, condition: str) -> str:
    count = "pg_catalog.count(*)"
    versions = "pg_catalog.hashtextextended(ctid::pg_catalog.text, xmin::pg_catalog.text::pg_catalog.int8)"
    state = f"pg_catalog.concat({count}, ':', pg_catalog.sum({versions})) AS state"
    return f"SELECT {state} FROM pg_catalog.{table} WHERE {condition}"  # noqa: S608 -- called with constants, below


_STATES = " UNION ALL ".join(_state(table, condition) for table, condition in _WATCHED.items())

FINGERPRINT = f"SELECT pg_catalog.string_agg(state, ' ') FROM ({_STATES}) AS states"  # noqa: S608 -- the same
