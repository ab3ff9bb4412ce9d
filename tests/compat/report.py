"""The comparison: what passes directly and not through consentry."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.compat.run import Outcome
from tests.compat.suites import SUITES, Suite


@dataclass(frozen=True, slots=True)
class Comparison:
    """``lost``: tests that pass directly and fail through consentry, but for those that no proxy could let pass."""

    suite: Suite
    direct: dict[str, Outcome]
    through: dict[str, Outcome]

    @property
    def lost(self) -> list[str]:
        return [test for test in self._missing() if not self._excused(test)]

    @property
    def excused(self) -> list[str]:
        return [test for test in self._missing() if self._excused(test)]

    def _missing(self) -> list[str]:
        passed = (test for test, outcome in self.direct.items() if outcome == "passed")
        return sorted(test for test in passed if self.through.get(test) != "passed")

    def _excused(self, test: str) -> bool:
        return any(re.search(pattern, test) for pattern in self.suite.unavoidable)

    def row(self) -> str:
        """One line of the table in ``docs/compatibility.md``."""
        direct, through = Counter(self.direct.values()), Counter(self.through.values())
        version = self.suite.source.partition("==")[2]
        return (
            f"| {self.suite.name} | {version} | {self.suite.covers} | {direct['passed']} | {through['passed']}"
            f" | {len(self.lost)} | {len(self.excused)} |"
        )


HEAD = (
    "| client | version | what is run | pass directly | pass through consentry | lost | unavoidable |\n"
    "| --- | --- | --- | --- | --- | --- | --- |"
)
BEGIN, END = "<!-- made by make compat -->\n", "<!-- end -->"


def page(text: str, comparisons: Sequence[Comparison]) -> str:
    """``docs/compatibility.md`` with these rows in its table; those of suites that were not run stay."""
    before, _, rest = text.partition(BEGIN)
    table, _, after = rest.partition(END)
    rows = {line.split("|")[1].strip(): line for line in table.splitlines()[2:] if line.startswith("|")}
    rows |= {one.suite.name: one.row() for one in comparisons}
    ordered = [rows[name] for name in SUITES if name in rows]
    return f"{before}{BEGIN}{HEAD}\n" + "".join(f"{row}\n" for row in ordered) + f"{END}{after}"
