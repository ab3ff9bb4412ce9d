"""What ``search_path`` means for a session (PostgreSQL manual 5.10.3 and 19.11.1; namespace.c)."""

from __future__ import annotations

from proxy.catalog.model import TEMPORARY, Relation
from proxy.engine.refusals import unsupported
from proxy.verdict import Context

_SPACE = " \t\n\r\f"
"""What PostgreSQL's scanner_isspace takes for space in every version; a vertical tab, from 16 on, is refused."""
_NAME_BYTES = 63
_ASCII_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def split_identifiers(text: str) -> list[str]:
    """The parts of a comma-separated list of identifiers, folded and unquoted (varlena.c, SplitIdentifierString).

    Raises Refused (0A000) for a list that PostgreSQL would not accept either.
    """
    names: list[str] = []
    rest = text.strip(_SPACE)
    if "\v" in text:
        raise _malformed()
    while rest:
        if rest.startswith('"'):
            end = 1
            while True:
                end = rest.find('"', end)
                if end < 0:
                    raise _malformed()
                if rest[end : end + 2] != '""':
                    break
                end += 2
            names.append(rest[1:end].replace('""', '"'))
            rest = rest[end + 1 :].lstrip(_SPACE)
        else:
            name, comma, after = rest.partition(",")
            name = name.rstrip(_SPACE)
            if not name or any(char in _SPACE or char == '"' for char in name):
                raise _malformed()
            names.append(name.translate(_ASCII_LOWER))
            rest = comma + after
        if rest and not rest.startswith(","):
            raise _malformed()
        had_comma = rest.startswith(",")
        rest = rest[1:].lstrip(_SPACE)
        if had_comma and not rest:
            raise _malformed()
    return [name.encode()[:_NAME_BYTES].decode("utf-8", "ignore") for name in names]


def _malformed() -> Exception:
    return unsupported(
        "the session's search_path cannot be read", way_out="Set search_path to a plain list of schemas."
    )


def effective(context: Context, search_path: str) -> tuple[str, ...]:
    """The schemas in which relations and types are looked up, in order; missing ones are left out.

    ``pg_temp`` stands first and ``pg_catalog`` next unless the list names them. Functions and operators are never
    looked up in ``pg_temp``.
    """
    path: list[str] = []
    for name in split_identifiers(search_path):
        schema = context.current_role if name == "$user" else name
        if schema == TEMPORARY or schema in context.catalog.schemas:
            path.append(schema)
    if "pg_catalog" not in path:
        path.insert(0, "pg_catalog")
    if TEMPORARY not in path:
        path.insert(0, TEMPORARY)
    return tuple(dict.fromkeys(path))


def creation_schema(path: tuple[str, ...], search_path: str) -> str | None:
    """Where CREATE puts an object without a schema: the first schema that the list itself names."""
    listed = [schema for schema in path if schema not in (TEMPORARY, "pg_catalog")]
    if listed:
        return listed[0]
    return "pg_catalog" if "pg_catalog" in split_identifiers(search_path) else None


def shadowed(context: Context, path: tuple[str, ...], name: str, found: Relation) -> Relation | None:
    """The relation that an unqualified ``name`` would mean if ``found`` were not there, None if it would mean nothing.

    It may not be there for the server: it passes over schemas on which the current role has no USAGE (namespace.c,
    recomputeNamespacePath), and what only this session sees (temporary, or not yet committed) can go in ways that
    nobody announces: ON COMMIT DROP, the CASCADE of another DROP.
    """
    if found.schema == "pg_catalog":
        return None
    later = path[path.index(found.schema) + 1 :] if found.schema in path else path
    return context.catalog.resolve(name, later)


def find(context: Context, path: tuple[str, ...], schema: str | None, name: str) -> Relation | None:
    """The relation that a name means for this session, None if there is none.

    Raises Refused (0A000) for another session's temporary schema.
    """
    if schema is not None and schema.startswith(("pg_temp_", "pg_toast_temp_")):
        raise unsupported(
            "temporary schemas can only be named pg_temp", way_out="Write pg_temp.name, or the name alone."
        )
    for place in (schema,) if schema is not None else path:
        if (place, name) in context.overlay:
            found = context.overlay[place, name]
        else:
            found = context.catalog.relation(place, name)
        if found is not None:
            return found
    return None
