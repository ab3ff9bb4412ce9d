"""Prepared statements and portals, as the upstream has them and as the client meant them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from proxy.session.circumstances import Basis, names_prepared
from proxy.session.events import Run
from proxy.session.naming import Naming
from proxy.verdict import Verdict

WITHHELD: Final = b'FETCH FROM "consentry: withheld"'
"""Stands for a text that is refused for now. It has no parameters and no result, and fails when it runs."""


@dataclass(slots=True, eq=False)
class Variant:
    """A statement prepared behind the client's back, under a private name, because the decision on it changed."""

    name: bytes
    segment: int
    confirmed: bool = False

    def usable(self, segment: int) -> bool:
        """It exists, or the message that makes it is in flight in the same segment."""
        return self.confirmed or self.segment == segment


@dataclass(slots=True, eq=False)
class Statement:
    """``text`` is the client's own. ``verdict`` is the one whose text the upstream has under the client's name; None
    where nobody decided on it (SQL PREPARE), and where it is ``withheld``: refused for now, so that the upstream has a
    text under the client's name that runs nothing, and the client's own under a private one, to be described.

    ``types`` are the parameter types as the client declared them; None for SQL PREPARE, which cannot be repeated here.
    ``own_types``: those of them that PostgreSQL did not bring.
    ``names_prepared``: its text may hold an SQL EXECUTE, or read what is prepared.
    ``described``: the types as the upstream described them, if the client asked.
    ``naming``: the names that there were when the upstream read it. ``stale``: what it has under the client's name
    means other relations than the text does now. ``discarded``: variants of which the same is true.
    """

    text: bytes
    types: bytes | None
    naming: Naming
    verdict: Verdict | None = None
    stale: bool = False
    variants: dict[bytes, Variant] = field(default_factory=dict)
    discarded: list[bytes] = field(default_factory=list)
    own_types: tuple[int, ...] = ()
    withheld: bool = False
    names_prepared: bool = field(init=False)
    described: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.names_prepared = names_prepared(self.text)

    @property
    def sent(self) -> bytes:
        """What the upstream has under the client's name."""
        if self.withheld:
            return WITHHELD
        return self.text if self.verdict is None else self.verdict.text

    def discard_variants(self) -> None:
        self.discarded += [variant.name for variant in self.variants.values()]
        self.variants.clear()


@dataclass(slots=True, eq=False)
class Portal:
    """A statement bound, or a cursor declared in SQL, under ``verdict``. ``naming``: the names that there were when
    what it reads was fixed. ``basis``: what was decided upon then, or when its rows were asked for first, which is when
    it ``started``.

    ``subjects``: (kind, key) of those whom its parameters name. ``rows``: handed out so far by Execute.
    ``applied``: its effects have been. ``declared``: in SQL; ``hold``: beyond its transaction, which is over if it is
    ``held``. ``lapsed``: the decision on it is not known any more. ``checked``: the checks behind it were sent.
    """

    statement: Statement
    verdict: Verdict
    naming: Naming
    basis: Basis
    subjects: tuple[tuple[str, str], ...] = ()
    run: Run | None = None
    rows: int = 0
    applied: bool = False
    started: bool = False
    declared: bool = False
    hold: bool = False
    held: bool = False
    lapsed: bool = False
    checked: bool = False
