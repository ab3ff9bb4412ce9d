"""The plan witness: what the upstream would scan for a secured text, held against what was decided.

Everything that a secured relation reads has a name that no client can guess (:mod:`proxy.engine.aliases`). A scan of a
classified relation under another name came by a way that was not seen: a reference that both readers of SQL missed, a
rule, an inlined function. So the statement is planned once before it first runs, apart from the client's session, and
not run there. Where the upstream cannot plan it so, nothing is known and nothing is held against it.

The plan is PostgreSQL's generic one, for parameters instead of values: with values it would leave out branches that
other values take. Literals become parameters too, so that texts which differ in nothing else share one plan.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from struct import unpack
from typing import Final

from proxy.catalog.model import TEMPORARY, Access, Catalog, Relation
from proxy.engine.aliases import is_ours
from proxy.engine.classification import family
from proxy.engine.grounds import Grounds
from proxy.engine.protected import Protected
from proxy.engine.secured import Viewer, look
from proxy.engine.session_state import SessionState
from proxy.engine.trust import COMPUTING_EXTENSIONS, Trust
from proxy.policy.model import Use
from proxy.sql.facts import Facts
from proxy.sql.grammar import Token, parse, scan
from proxy.sql.names import functions
from proxy.sql.quote import identifier
from proxy.sql.relations import relations
from proxy.sql.splice import Edit, apply
from proxy.sql.tree import Index
from proxy.sql.writing import MODIFYING
from proxy.verdict import Probe, Splice, Verdict

_PLANNED: Final = frozenset({"SelectStmt", "DeclareCursorStmt", "CopyStmt", "PrepareStmt"}) | MODIFYING
_LITERALS: Final = {"SCONST": 0, "ICONST": 23, "FCONST": 1700}
"""Types of the parameters that literals become: unknown, int4, numeric."""
_UNFIT: Final = frozenset({"BCONST", "XCONST", "USCONST", "UESCAPE", "UIDENT"})
_EXACT: Final = 64
"""Texts of one shape that are remembered one by one, where the shape itself cannot be planned."""
_IDENTIFIER: Final = r'("(?:[^"]|"")+"|[^\s()."]+)'
_FOREIGN: Final = re.compile(rf"\({_IDENTIFIER}\.{_IDENTIFIER}(?: {_IDENTIFIER})?\)")
"""A table in what postgres_fdw says of a join that it pushed down: ``(schema.table alias)``."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What may be scanned for statement number ``index`` of a text."""

    index: int
    kind: str
    path: tuple[str, ...]
    viewer: Viewer
    catalog: Catalog
    protected: Protected

    def unexplained(self, text: bytes, plan: object) -> tuple[str, ...]:
        """Scans of ``plan`` (EXPLAIN's JSON) that read what is not shown to everybody under a name that is not ours.

        A row security policy, a view that was kept, and the target of a change explain scans of their own.
        """
        found: list[str] = []
        explained: set[int] | None = None
        for schema, name, alias in scans(plan):
            relation = self._relation(schema, name)
            if relation is None or is_ours(alias) or not self._guarded(relation):
                continue
            if explained is None:
                explained = self._explained(text)
            if relation.oid not in explained:
                found.append(f"{relation.schema}.{relation.name}")
        return tuple(dict.fromkeys(found))

    def _relation(self, schema: str, name: str) -> Relation | None:
        return self.catalog.relation(schema, name) if schema else self.catalog.resolve(name, self.path)

    def _guarded(self, relation: Relation) -> bool:
        classification = self.protected.classified.get(relation.oid)
        return classification is not None and not look(self.viewer, relation, classification).unrestricted

    def _explained(self, text: bytes) -> set[int]:
        explained: set[int] = set()
        [statement] = parse(text)
        for name in relations(statement.node, statement.kind):
            relation = self._relation(name.schema or "", name.name)
            if relation is None:
                continue
            own = {member.oid for member in family(self.catalog, relation.oid)}
            if name.place == "target":
                explained |= own
            for member in own:
                reach = self.catalog.relations[member].reach.get(Access.SELECT)
                explained |= (reach.relations if reach is not None else frozenset()) - own
        return explained


def expect(index: int, facts: Facts, state: SessionState, purpose: str | None, grounds: Grounds) -> Expected | None:
    """What a secured statement may scan; None where a plan made apart from the session could not tell.

    So it is where the session sees relations or code that others do not, where the role may run anything, and where a
    trusted function in FROM may have been inlined, since what its body reads is its own matter.
    """
    context, role = state.context, state.role
    if facts.statement.kind not in _PLANNED or context.uncommitted_code or (role is not None and role.code):
        return None
    hidden = {name for _, name in context.overlay}
    path = tuple(schema for schema in state.path() if schema != TEMPORARY)
    if any(name.name in hidden for name in facts.relations) or _inlines(facts, grounds.trust, path):
        return None
    use = Use.EXPORT if facts.statement.kind == "CopyStmt" else Use.READ
    viewer = Viewer(state.policy, context.role, purpose, state.subject, grounds.now, use)
    return Expected(index, facts.statement.kind, path, viewer, context.catalog, grounds.protected)


def _inlines(facts: Facts, trust: Trust, path: tuple[str, ...]) -> bool:
    """A function in FROM is a user's: PostgreSQL may put the body of an SQL function there in its place."""
    called = [call for item in facts.index.of_type("RangeFunction") for call in functions(Index(item))]
    candidates = [function for call in called for function in trust.candidates(call, path)]
    return any(not function.builtin and function.extension not in COMPUTING_EXTENSIONS for function in candidates)


def scans(plan: object) -> Iterator[tuple[str, str, str]]:
    """Schema, name and alias of every relation that a plan reads, at any depth."""
    pending = [plan]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, dict):
            pending.extend(value for value in node.values() if isinstance(value, dict | list))
            if "Relation Name" in node and node.get("Node Type") != "ModifyTable":
                yield node.get("Schema", ""), node["Relation Name"], node.get("Alias", "")
            elif node.get("Node Type") in ("Foreign Scan", "Custom Scan") and isinstance(node.get("Relations"), str):
                for parts in _FOREIGN.findall(node["Relations"]):
                    schema, name, alias = (_unquoted(part) for part in parts)
                    yield schema, name, alias


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


@dataclass(slots=True, eq=False)
class PlanWitness:
    """Implements :class:`proxy.verdict.PlanCheck`: one for a verdict and all that are made by its template."""

    expected: tuple[Expected, ...]
    _shape: dict[bytes, tuple[str, ...]] = field(default_factory=dict)
    _exact: OrderedDict[tuple[bytes, bytes], tuple[str, ...]] = field(default_factory=OrderedDict)

    def outcome(self, text: bytes, types: bytes) -> tuple[str, ...] | None:
        """See :meth:`proxy.verdict.PlanCheck.outcome`."""
        found = self._shape.get(types)
        return self._exact.get((types, text)) if found is None else found

    def settle(self, text: bytes, types: bytes, found: tuple[str, ...], *, shape: bool) -> None:
        """See :meth:`proxy.verdict.PlanCheck.settle`."""
        if shape:
            self._shape[types] = found
            return
        self._exact[types, text] = found
        while len(self._exact) > _EXACT:
            self._exact.popitem(last=False)

    def probes(self, query: bytes, verdict: Verdict, types: bytes, *, shape: bool) -> tuple[Probe, ...] | None:
        """See :meth:`proxy.verdict.PlanCheck.probes`."""
        tokens = scan(query)
        oids = list(unpack(f"!{len(types) // 4}I", types))
        highest = max((int(query[token.start + 1 : token.end]) for token in tokens if token.kind == "PARAM"), default=0)
        oids += [0] * (highest - len(oids))
        text: bytes | None = verdict.text
        if shape:
            text = _with_parameters(query, tokens, verdict.splices, oids)
        if text is None:
            return None
        alone = not any(token.kind == "ASCII_59" for token in tokens)
        statements = [text] if alone else [text[statement.start : statement.end] for statement in parse(text)]
        probes = [_probe(expected, statements[expected.index], oids) for expected in self.expected]
        return tuple(probe for probe in probes if probe is not None)


def _with_parameters(query: bytes, tokens: list[Token], splices: tuple[Splice, ...], oids: list[int]) -> bytes | None:
    """The secured text with a parameter for each of the client's literals, whose types are added to ``oids``."""
    edits = [Edit(*splice) for splice in splices]
    for token in tokens:
        if token.kind in _UNFIT:
            return None
        if token.kind in _LITERALS:
            if any(start <= token.start < end for start, end, *_ in splices):
                return None  # it went into the secured relation: TABLESAMPLE
            oids.append(_LITERALS[token.kind])
            edits.append(Edit(token.start, token.end, f" ${len(oids)} "))
    return apply(query, edits)[0]


def _probe(expected: Expected, text: bytes, oids: list[int]) -> Probe | None:
    """What is planned for one statement; None if it runs nothing that could be."""
    whole = expected.kind == "SelectStmt" or expected.kind in MODIFYING
    tokens = [] if whole else [token for token in scan(text) if not token.comment]
    declared = 0
    match expected.kind:
        case "SelectStmt" | "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt":
            planned = b"AS " + text
        case "DeclareCursorStmt":
            planned = b"AS " + text[_first(tokens, "FOR").end :]
        case "CopyStmt":
            # Of a query: that of a table was made one.
            planned = b"AS " + text[_first(tokens, "ASCII_40").end : _closing(tokens).start]
        case "PrepareStmt":
            [statement] = parse(text)
            declared = len(statement.node.get("argtypes", ()))
            planned = text[tokens[1].end :]
        case _:
            return None
    return Probe(
        search_path=", ".join(map(identifier, expected.path)),
        types=() if declared else tuple(oids),
        text=planned.decode(),
        parameters=max(len(oids), declared),
        judge=partial(expected.unexplained, text),
    )


def _first(tokens: list[Token], kind: str) -> Token:
    return next(token for token in tokens if token.kind == kind)


def _closing(tokens: list[Token]) -> Token:
    """The parenthesis that closes the first one."""
    depth = 0
    for token in tokens:
        depth += (token.kind == "ASCII_40") - (token.kind == "ASCII_41")
        if depth == 0 and token.kind == "ASCII_41":
            return token
    raise ValueError("unbalanced parentheses")
