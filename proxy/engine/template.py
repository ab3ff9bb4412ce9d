"""Verdicts for texts that differ from a decided one in literals only: the same decision, the same edits, moved."""

from __future__ import annotations

from dataclasses import dataclass, replace

from proxy.sql.shape import Shape, literal_value
from proxy.sql.splice import Edit, apply
from proxy.verdict import Splice, Verdict

_KINDS = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})


@dataclass(frozen=True, slots=True)
class Template:
    """A verdict, the literals of the text that it was made for, and which of them name subjects (kind, literal)."""

    verdict: Verdict
    literals: tuple[tuple[int, int], ...]
    subjects: tuple[tuple[str, int], ...]
    within: Template | None = None
    """The same for what runs within a transaction block, where that is another text."""

    def verdict_on(self, query: bytes, shape: Shape) -> Verdict | None:
        """The verdict on ``query``, which has this template's shape; None where it must be decided for itself."""
        subjects = []
        for kind, index in self.subjects:
            value = literal_value(query, shape.literals[index])
            if value is None:
                return None
            subjects.append((kind, value))
        statements = self.verdict.statements
        if subjects:
            statements = (replace(statements[0], subjects=tuple(sorted(set(subjects)))),)
        within = None if self.within is None else self.within.verdict_on(query, shape)
        if not self.verdict.splices:
            return replace(self.verdict, text=query, statements=statements, within_block=within)
        moved = [self._splice(splice, query, shape) for splice in self.verdict.splices]
        text, positions = apply(query, [Edit(*splice) for splice in moved])
        return replace(
            self.verdict, text=text, statements=statements, edits=positions, splices=tuple(moved), within_block=within
        )

    def _splice(self, splice: Splice, query: bytes, shape: Shape) -> Splice:
        """The edit in a text of the same shape, with that text's literals where it repeats any."""
        start, end, text, copies = splice
        pieces: list[str] = []
        new: list[tuple[int, int, int]] = []
        done = length = 0
        for offset, size, literal in copies:
            own = self.places.get(literal)
            place = (literal, literal) if own is None else shape.literals[own]
            written = text[offset : offset + size] if own is None else query[place[0] : place[1]].decode("utf-8")
            pieces += (text[done:offset], written)
            length += offset - done
            new.append((length, len(written), self._moved(literal, shape)))
            length += len(written)
            done = offset + size
        return self._moved(start, shape), self._moved(end, shape), "".join((*pieces, text[done:])), tuple(new)

    @property
    def places(self) -> dict[int, int]:
        """The number of each literal by where it stood."""
        return {start: index for index, (start, _) in enumerate(self.literals)}

    def _moved(self, offset: int, shape: Shape) -> int:
        """Where a token boundary of the decided text stands in a text of the same shape."""
        shift = 0
        for old, new in zip(self.literals, shape.literals, strict=True):
            if old[0] >= offset:
                break
            shift = new[1] - old[1]
        return offset + shift


def template_of(verdict: Verdict, shape: Shape) -> Template | None:
    """The template that a verdict gives; None where a literal may have had a say in it."""
    statements = verdict.statements
    if verdict.refusal is not None or len(statements) != 1 or statements[0].effects or not verdict.literals_are_data:
        return None
    if statements[0].tag not in _KINDS:
        return None
    edited = [(start, end) for start, end, *_ in verdict.splices]
    if any(start <= literal < end for start, end in edited for literal, _ in shape.literals):
        return None
    places = {start: index for index, (start, _) in enumerate(shape.literals)}
    subjects = []
    for kind, location in verdict.subject_places:
        index = places.get(location)
        if index is None:
            return None
        subjects.append((kind, index))
    within = None if verdict.within_block is None else template_of(verdict.within_block, shape)
    if verdict.within_block is not None and within is None:
        return None
    return Template(verdict, shape.literals, tuple(subjects), within)
