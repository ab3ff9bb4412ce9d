"""A path -> a policy, or everything that is wrong with it.

files.py        reads the file and what it extends, in shape (document.py, validate.py, schema.py)
references.py   names mean something
floor.py        what is extended is tightened, never loosened; packs get what they demand
build.py        the frozen policy
unenforced.py   keys that nothing enforces yet
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from proxy.policy.build import build
from proxy.policy.diagnostic import Diagnostic, Position, Severity
from proxy.policy.files import PolicyFile, Report, Unreadable, read
from proxy.policy.floor import check_contact, check_floor, check_packs
from proxy.policy.model import Policy
from proxy.policy.overlap import check_overlaps
from proxy.policy.references import check_references
from proxy.policy.unenforced import check_enforcement


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of a file. ``policy`` is None if and only if ``diagnostics`` holds an error.

    ``unenforced`` are warnings about keys whose enforcement does not exist yet: serving such a policy in enforce mode
    would promise what nobody keeps, so there each of them is an error (see :meth:`report`).
    """

    policy: Policy | None
    diagnostics: tuple[Diagnostic, ...]
    unenforced: tuple[Diagnostic, ...]

    def report(self, *, enforce: bool = False) -> tuple[Diagnostic, ...]:
        """All diagnostics by place, for people; ``enforce`` turns unenforced keys into errors."""
        severity = Severity.ERROR if enforce else Severity.WARNING
        return _sorted((*self.diagnostics, *(replace(one, severity=severity) for one in self.unenforced)))


def load(path: Path | str) -> Loaded:
    """Loads a policy file with everything it extends; reports every mistake. Never raises for what a file may hold.

    A file that cannot be opened is a diagnostic with the code ``file``.
    """
    report = Report()
    label = str(path)
    try:
        file = read(label, Path(path), report)
    except Unreadable as error:
        report.add(label, Position(), Severity.ERROR, "file", f"cannot be read: {error}")
        return Loaded(None, tuple(report.found), ())
    for one in file.lineage():
        _check(one)
    check_contact(file)
    policy = None
    if not any(found.severity is Severity.ERROR for found in report.found):
        policy = build(file)
        check_overlaps(file, policy)
    return Loaded(policy, _sorted(report.found), _sorted(report.unenforced))


def _check(file: PolicyFile) -> None:
    check_references(file)
    check_floor(file)
    check_packs(file)
    check_enforcement(file)


def _sorted(found: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    return tuple(sorted(dict.fromkeys(found)))
