"""Plays a psql script on three connections: directly, directly once more as a control, and through the proxy.

What the proxy refuses is run nowhere, so that the servers stay alike; where it aborted a transaction, the others' are
aborted as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.fidelity.comparison import Compared, Outcome, Tally, kind, only_counts_differ, reason, same, same_error
from tests.fidelity.peer import Observation, Peer
from tests.fidelity.psql_script import Meta, Script, Statement, interpolate

_FROM_STDIN = re.compile(r"\bcopy\b.*\bfrom\s+stdin\b", re.IGNORECASE | re.DOTALL)
_TRUE = frozenset({"t", "tr", "tru", "true", "on", "y", "yes", "1"})
_ARGUMENT = re.compile(r"'((?:[^']|'')*)'|(\S+)")
_ABORT = "consentry refused it"
"""Sent where a transaction must fail as well: no SQL."""


@dataclass(slots=True)
class Side:
    """One of the connections, with the variables of its psql. ``private``: what only its own server is called."""

    open: Callable[[], Peer]
    variables: dict[str, str]
    private: dict[str, str] = field(default_factory=dict)
    peer: Peer = field(init=False)

    def begin(self) -> None:
        self.peer = self.open()

    def run(self, text: str, bound: list[str] | None, data: Callable[[], bytes], *, extended: bool) -> Observation:
        if not self.peer.alive:
            return Observation(transaction="lost")
        self.peer.send(text, bound, extended=extended)
        return self.peer.receive(data)


class Player:
    """Plays scripts on ``sides``: direct, control, proxied."""

    def __init__(self, direct: Side, control: Side, proxied: Side, tally: Tally, *, extended: bool = False) -> None:
        self._direct = direct
        self._control = control
        self._proxied = proxied
        self._sides = (proxied, direct, control)
        self._tally = tally
        self._extended = extended
        self._data: list[str] | None = None

    def play(self, path: Path) -> None:
        """Every statement of the script at ``path``, on new connections."""
        self._name = path.stem
        self._script = Script(path.read_text("utf-8", "surrogateescape").encode("utf-8", "replace").decode("utf-8"))
        self._branches: list[tuple[bool, bool]] = []  # (this branch runs, one of its chain ran)
        started = [dict(side.variables) for side in self._sides]
        for side in self._sides:
            side.begin()
        try:
            for item in self._items():
                if isinstance(item, Meta):
                    if item.name in ("q", "quit"):
                        return
                    self._command(item)
                else:
                    self._statement(item)
        finally:
            for side, variables in zip(self._sides, started, strict=True):
                side.peer.close()
                side.variables = variables

    def _items(self) -> Iterator[Statement | Meta]:
        while (item := self._script.next()) is not None:
            if isinstance(item, Meta) and item.name in ("if", "elif", "else", "endif"):
                self._branch(item)
            elif all(runs for runs, _ in self._branches):
                yield item

    # --- backslash commands -------------------------------------------------------------------------------------------

    def _branch(self, meta: Meta) -> None:
        condition = interpolate(meta.arguments, self._direct.variables).strip().lower() in _TRUE
        match meta.name:
            case "if":
                self._branches.append((condition, condition))
            case "elif":
                _, ran = self._branches.pop()
                self._branches.append((condition and not ran, condition or ran))
            case "else":
                _, ran = self._branches.pop()
                self._branches.append((not ran, True))
            case _:
                self._branches.pop()

    def _command(self, meta: Meta) -> None:
        match meta.name:
            case "set":
                for side in self._sides:
                    name, *values = _arguments(interpolate(meta.arguments, side.variables)) or [""]
                    side.variables[name] = "".join(values)
            case "unset":
                for side in self._sides:
                    side.variables.pop(meta.arguments.strip(), None)
            case "getenv":
                name, variable = _arguments(meta.arguments)
                for side in self._sides:
                    side.variables[name] = side.variables.get(variable, "")
            case "c" | "connect":
                self._reconnect(_arguments(interpolate(meta.arguments, self._direct.variables)))
            case "echo" | "pset" | "x" | "a" | "t" | "qecho" | "warn" | "o" | "r" | "p" | "setenv":
                pass
            case _:
                self._tally.skipped[f"\\{meta.name}"] += 1

    def _reconnect(self, arguments: list[str]) -> None:
        """``\\c - user``; to another database it is not followed."""
        user = arguments[1] if len(arguments) > 1 and arguments[1] != "-" else None
        if any("=" in argument for argument in arguments) or (arguments and arguments[0] != "-"):
            self._tally.skipped["\\c to another database"] += 1
            return
        failures = [side.peer.connect(user) for side in self._sides]
        if any(failures):
            for side in self._sides:
                side.begin()

    # --- statements ---------------------------------------------------------------------------------------------------

    def _statement(self, statement: Statement) -> None:
        if statement.sent_by in ("gdesc", "crosstabview", "watch"):
            self._tally.skipped[f"\\{statement.sent_by}"] += 1
            return
        self._data = None
        seen = self._compare(statement, [statement.render(side.variables) for side in self._sides])
        if seen is None:
            return
        if statement.sent_by == "gset":
            for side, observation in zip(self._sides, seen, strict=True):
                _keep(observation, statement.argument, side.variables)
        elif statement.sent_by == "gexec":
            for rows in zip(*map(_texts, seen), strict=False):
                self._compare(statement, list(rows))

    def _compare(self, statement: Statement, texts: list[str]) -> list[Observation] | None:
        """Observations in the order of ``_sides``; None if it was refused."""
        bound = None if statement.bound is None else _arguments(statement.bound)
        extended = self._extended and ";" not in texts[0].rstrip(";")
        proxied = self._proxied.run(texts[0], bound, self._copy_data, extended=extended)
        if proxied.refusal is not None:
            self._refused(statement, texts[0], proxied)
            return None
        others = [
            side.run(text, bound, self._copy_data, extended=extended)
            for side, text in zip(self._sides[1:], texts[1:], strict=True)
        ]
        direct, control = others
        if same(direct, proxied):
            outcome = Outcome.IDENTICAL
        elif not same(direct, control) or only_counts_differ(texts[0], direct, proxied):
            outcome = Outcome.BY_NATURE
        else:
            outcome = Outcome.WORDED if same_error(direct, proxied) else Outcome.DIFFERENT
        self._note(statement, texts[0], outcome, "", direct, proxied)
        if "lost" in (proxied.transaction, direct.transaction):
            for side in self._sides:
                side.peer.connect()
        return [proxied, direct, control]

    def _refused(self, statement: Statement, text: str, proxied: Observation) -> None:
        if self._data is None and _FROM_STDIN.search(text):
            self._copy_data()
        aborted = proxied.transaction == "INERROR"
        if aborted:
            for side in (self._direct, self._control):
                side.run(_ABORT, None, bytes, extended=False)
        self._note(statement, text, Outcome.REFUSED, reason(proxied.refusal or ""), None, proxied)
        if not self._proxied.peer.alive:
            self._proxied.peer.connect()

    def _note(
        self,
        statement: Statement,
        text: str,
        outcome: Outcome,
        why: str,
        direct: Observation | None,
        proxied: Observation,
    ) -> None:
        self._tally.add(Compared(self._name, statement.line, text, kind(text), outcome, why, direct, proxied))

    def _copy_data(self) -> bytes:
        """The data behind the statement: read from the script once, sent on each side."""
        if self._data is None:
            self._data = self._script.data()
        return "".join(f"{line}\n" for line in self._data).encode()


def _arguments(text: str) -> list[str]:
    return [
        found[1].replace("''", "'") if found[1] is not None else found[2] for found in _ARGUMENT.finditer(text.strip())
    ]


def _texts(observation: Observation) -> list[str]:
    rows = [row for result in observation.results for row in result.rows]
    return [value.decode() for row in rows for value in row if value is not None]


def _keep(observation: Observation, prefix: str, variables: dict[str, str]) -> None:
    """``\\gset``: a variable for each column of the one row."""
    for result in observation.results:
        if len(result.rows) == 1:
            for column, value in zip(result.columns, result.rows[0], strict=True):
                name = prefix + column.name.decode()
                if value is None:
                    variables.pop(name, None)
                else:
                    variables[name] = value.decode()
