"""The comparison: what passes directly and not through consentry."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tests.compat.run import Outcome
from tests.compat.suites import Suite


@dataclass(frozen=True, slots=True)
class Comparison:
    """``lost``: tests that pass directly and fail through consentry, but for those that no proxy could let pass."""

    suite: Suite
    direct: dict[str, Outcome]
    through: dict[str, Outcome]

    @property
    def lost(self) -> list[str]:
        return sorted(
            test
            for test, outcome in self.direct.items()
            if outcome == "passed" and self.through.get(test) != "passed" and test not in self.suite.unavoidable
        )

    @property
    def excused(self) -> list[str]:
        return sorted(
            test
            for test in self.suite.unavoidable
            if self.direct.get(test) == "passed" and self.through.get(test) != "passed"
        )

    def row(self) -> str:
        """One line of the table in ``docs/compatibility.md``."""
        direct, through = Counter(self.direct.values()), Counter(self.through.values())
        name, _, version = self.suite.source.partition("==")
        return (
            f"| {name} {version} | {direct['passed']} | {direct['failed']} | {through['passed']} | {len(self.lost)}"
            f" | {len(self.excused)} |"
        )


HEAD = (
    "| suite | pass directly | fail directly | pass through consentry | lost | unavoidable |\n"
    "| --- | --- | --- | --- | --- | --- |"
)
