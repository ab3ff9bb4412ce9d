"""A policy file with what it extends, validated in shape, and the report that checks write to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from proxy.policy import packs
from proxy.policy.diagnostic import Diagnostic, Position, Severity, did_you_mean
from proxy.policy.document import Map, locate, parse
from proxy.policy.schema import PolicyForm
from proxy.policy.validate import Shape, validate

MAX_BYTES = 1024 * 1024
Place = tuple[str | int, ...]


@dataclass(slots=True)
class Report:
    """What the checks found."""

    found: list[Diagnostic] = field(default_factory=list)
    unenforced: list[Diagnostic] = field(default_factory=list)

    def add(self, path: str, at: Position, severity: Severity, code: str, message: str) -> None:
        target = self.unenforced if code == "unenforced" else self.found
        target.append(Diagnostic(path, at.line, at.column, severity, code, message))


@dataclass(slots=True)
class PolicyFile:
    """One file and the files that it extends. ``label`` is its path as diagnostics show it."""

    label: str
    path: Path
    text: bytes
    shape: Shape
    report: Report
    complete: bool = True
    """The file could be read and everything it extends was found."""
    bases: dict[int, PolicyFile] = field(default_factory=dict)
    """By index in ``extends``."""

    @property
    def form(self) -> PolicyForm:
        return self.shape.form

    @property
    def name(self) -> str:
        return self.form.name or self.path.stem

    def error(self, place: Place, code: str, message: str, *, key: bool = False) -> None:
        """Reports an error of this file at the value (or key) at ``place``."""
        self.report.add(self.label, locate(self.shape.tree, place, key=key), Severity.ERROR, code, message)

    def warning(self, place: Place, code: str, message: str, *, key: bool = False) -> None:
        self.report.add(self.label, locate(self.shape.tree, place, key=key), Severity.WARNING, code, message)

    def all_bases(self) -> Iterator[PolicyFile]:
        """Everything that it extends, directly or not, each once, bases before what extends them."""
        seen: set[int] = set()
        for base in self.bases.values():
            for one in (*base.all_bases(), base):
                if id(one) not in seen:
                    seen.add(id(one))
                    yield one

    @property
    def whole(self) -> bool:
        """Nothing that the policy consists of is missing, so what is not there is not there."""
        return all(one.complete for one in self.lineage())

    def lineage(self) -> tuple[PolicyFile, ...]:
        """The files of the policy: bases first, this one last."""
        return (*self.all_bases(), self)

    def declared(self, section: str) -> frozenset[str]:
        """The names that the files give under ``section``, also those whose definition is wrong."""
        written = (one.shape.written.get(section) for one in self.lineage())
        return frozenset(name for names in written if isinstance(names, dict) for name in names)


class Unreadable(Exception):
    """A file that cannot be read at all."""


def read(label: str, path: Path, report: Report) -> PolicyFile:
    """Reads ``path`` and what it extends. Raises :class:`Unreadable` only for ``path`` itself."""
    return _read(label, path, report, {}, ())


def digest(file: PolicyFile) -> str:
    """SHA-256 over all files in order, each preceded by its length."""
    hashed = hashlib.sha256()
    for one in file.lineage():
        hashed.update(len(one.text).to_bytes(8, "big") + one.text)
    return hashed.hexdigest()


def _read(label: str, path: Path, report: Report, known: dict[Path, PolicyFile], trail: tuple[Path, ...]) -> PolicyFile:
    real = path.resolve()
    text = _bytes(path)
    try:
        document = parse(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        document = parse("")
        line = text.count(b"\n", 0, error.start) + 1
        document.problems.append((Position(line), "syntax", "the file is not UTF-8"))
    unreadable = document.root is None and bool(document.problems)
    shape = validate(document.root, document.here)
    problems = document.problems if unreadable else [*document.problems, *shape.problems]
    for position, code, message in problems:
        report.add(label, position, Severity.ERROR, code, message)
    file = PolicyFile(label, path, text, shape, report, complete=isinstance(document.root, Map))
    for index, reference in enumerate(file.form.extends):
        base = _extend(file, index, reference, known, (*trail, real))
        if base is not None:
            file.bases[index] = base
        else:
            file.complete = False
    known[real] = file
    return file


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            text = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error
    if len(text) > MAX_BYTES:
        raise Unreadable(f"larger than {MAX_BYTES} bytes")
    return text


def _extend(
    file: PolicyFile, index: int, reference: str, known: dict[Path, PolicyFile], trail: tuple[Path, ...]
) -> PolicyFile | None:
    place: Place = ("extends", index)
    if packs.is_name(reference):
        found = packs.path(reference)
        if found is None:
            file.error(place, "extends", f"there is no pack '{reference}'{did_you_mean(reference, packs.names())}")
            return None
        path, label = found, str(found)
    else:
        path = file.path.parent / reference
        label = str(path)
    real = path.resolve()
    if real in trail:
        file.error(place, "extends", f"'{reference}' extends this file in turn")
        return None
    if real in known:
        return known[real]
    try:
        return _read(label, path, file.report, known, trail)
    except Unreadable as error:
        file.error(place, "extends", f"'{reference}' cannot be read: {error}")
        return None
