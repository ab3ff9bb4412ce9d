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
from proxy.policy.document import locate
from proxy.policy.files import PolicyFile, Report, Unreadable, read
from proxy.policy.floor import check_contact, check_floor, check_packs
from proxy.policy.model import Name, Policy
from proxy.policy.overlap import check_overlaps
from proxy.policy.references import check_references
from proxy.policy.unenforced import check_enforcement
from proxy.policy.values import read_table
from proxy.policy.verify import Finding


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of a file. ``policy`` is None if and only if ``diagnostics`` holds an error.

    ``unenforced`` are warnings about keys whose enforcement does not exist yet: serving such a policy in enforce mode
    would promise what nobody keeps, so there each of them is an error (see :meth:`report`).
    """

    policy: Policy | None
    diagnostics: tuple[Diagnostic, ...]
    unenforced: tuple[Diagnostic, ...]
    file: PolicyFile | None = None

    def report(self, *, enforce: bool = False) -> tuple[Diagnostic, ...]:
        """All diagnostics by place, for people; ``enforce`` turns unenforced keys into errors."""
        severity = Severity.ERROR if enforce else Severity.WARNING
        return _sorted((*self.diagnostics, *(replace(one, severity=severity) for one in self.unenforced)))

    def placed(self, findings: Iterable[Finding]) -> tuple[Diagnostic, ...]:
        """What a database says against the policy, each at the place of the file that it is about."""
        found = []
        for finding in findings:
            label, at = self._locate(finding)
            found.append(Diagnostic(label, at.line, at.column, finding.severity, finding.code, finding.message))
        return tuple(found)

    def _locate(self, finding: Finding) -> tuple[str, Position]:
        """The first line of the file where the finding is about nothing that is written in one."""
        if self.file is None:
            return "", Position()
        section, *steps = finding.place or ("",)
        for one in reversed(self.file.lineage()):
            written = one.shape.written.get(str(section))
            keys = list(written) if isinstance(written, dict) else []
            for key in keys if steps else ():
                if (_means(key) if isinstance(steps[0], Name) else key) == steps[0]:
                    path = [str(section), key, *map(str, steps[1:])]
                    return one.label, locate(one.shape.tree, path, key=len(path) == 2 or path[-2] == "columns")
        return self.file.label, Position()


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
    return Loaded(policy, _sorted(report.found), _sorted(report.unenforced), file)


def _means(key: str) -> Name | None:
    try:
        return read_table(key)
    except ValueError:
        return None


def _check(file: PolicyFile) -> None:
    check_references(file)
    check_floor(file)
    check_packs(file)
    check_enforcement(file)


def _sorted(found: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    return tuple(sorted(dict.fromkeys(found)))
