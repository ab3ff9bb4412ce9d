"""Named attempts to read what is hidden, as readable data, and how one is carried out.

``attacks/*.yaml`` holds groups of names. Under a name stands a statement, a list of them that is sent on a connection
of its own, or a mapping:

=============  =======================================================================================================
``sql``        the statement or statements
``protocol``   instead: messages of the extended protocol, see ``Step``
``blind``      true: the databases cannot be told apart by it even without consentry (it once seemed that they could,
               or its point is to be refused)
``twin``       what becomes of it for those who may see everything: ``same`` as without consentry (the default);
               ``restricted``: the same for ``director``, but not to be compared for ``auditor``, who reads through
               secured relations (order that SQL leaves open, rows whose conditions nobody meets); ``refused`` by
               design; ``less``: shows everybody less, by design (statistics of protected tables)
``xfail``      a known leak, and why
``purpose``    of the session; default ``marketing``
``since``      the major version of PostgreSQL that has what it uses, or gives roles what they need for it. On an older
               one it has no twin, and need not tell the databases apart without consentry
=============  =======================================================================================================

A mapping with ``sequence`` is something else: statements that change the databases, see ``sequence.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from tests.noninterference import conversation as wire
from tests.noninterference.conversation import Answer, Closed, Connection

HERE = Path(__file__).parent
Mode = Literal["simple", "text", "binary"]
MODES: tuple[Mode, ...] = ("simple", "text", "binary")
"""The simple protocol, and the extended one with results in text and in binary format."""

Step = dict[str, Any]
"""One of ``query``: SQL · ``parse``: [statement, SQL, type OIDs…] · ``bind``: [portal, statement, [parameters],
results] · ``describe``: [S or P, name] · ``execute``: [portal, rows] · ``close``: [S or P, name] · ``flush`` ·
``sync`` · ``copy``: data (CopyData) · ``done`` (CopyDone) · ``fail`` (CopyFail). What stands between two of ``query``
and ``sync`` goes out in one piece. A parameter ``{hex: …}`` is sent in binary format."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One attempt to tell the databases apart."""

    group: str
    name: str
    statements: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    alone: bool = False
    """Needs a connection of its own; otherwise it is one statement, run in a transaction that is rolled back."""
    blind: bool = False
    twin: Literal["same", "less", "refused", "restricted", "later"] = "same"
    xfail: str | None = None
    purpose: str = "marketing"
    since: int = 14

    def __str__(self) -> str:
        return f"{self.group}: {self.name}"

    @property
    def modes(self) -> tuple[Mode, ...]:
        return ("simple",) if self.steps else MODES

    @property
    def text(self) -> str:
        """All that it says, for finding out what it guessed itself."""
        return "\n".join((*self.statements, *(str(value) for step in self.steps for value in step.values())))


def attacks() -> list[Attack]:
    """Every named attempt."""
    return [_attack(*entry) for entry in entries() if "sequence" not in entry[2]]


def entries() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Everything in ``attacks/*.yaml``: group, name, and what stands there as a mapping."""
    for file in sorted((HERE / "attacks").glob("*.yaml")):
        groups: dict[str, dict[str, Any]] = yaml.safe_load(file.read_text("utf-8"))
        for group, members in groups.items():
            for name, written in members.items():
                yield group, name, dict(written) if isinstance(written, dict) else {"sql": written}


def _attack(group: str, name: str, entry: dict[str, Any]) -> Attack:
    sql = entry.pop("sql", ())
    steps = tuple(step if isinstance(step, dict) else {step: None} for step in entry.pop("protocol", ()))
    alone = bool(steps) or not isinstance(sql, str)
    return Attack(group, name, (sql,) if isinstance(sql, str) else tuple(sql), steps, alone, **entry)


def carry_out(connection: Connection, attack: Attack, mode: Mode) -> list[Answer]:
    """Everything that comes back. A connection that the other side closes ends the attempt."""
    found: list[Answer] = []
    try:
        if attack.steps:
            found += converse(connection, attack.steps)
        elif attack.alone:
            found += (send(connection, sql, mode) for sql in attack.statements)
        else:
            found += in_transaction(connection, attack.statements[0], mode)
    except Closed as closed:
        found.append(Answer((*closed.messages, ("closed", b""))))
    return found


def in_transaction(connection: Connection, sql: str, mode: Mode) -> list[Answer]:
    """One statement between BEGIN and ROLLBACK; the answers to all three."""
    return [connection.query("BEGIN"), send(connection, sql, mode), connection.query("ROLLBACK")]


def send(connection: Connection, sql: str, mode: Mode) -> Answer:
    if mode == "simple":
        return connection.query(sql)
    return connection.ask(wire.extended(sql, wire.BINARY if mode == "binary" else wire.TEXT))


def converse(connection: Connection, steps: Iterable[Step]) -> Iterator[Answer]:
    """The messages of the extended protocol, one answer for each ``query`` and ``sync``.

    Where the steps say themselves what is copied, nothing is sent when the server asks for it: that would race an
    answer to what they sent, and who is first decides how many Syncs are answered.
    """
    pending, copies = b"", False
    for step in steps:
        ((kind, arguments),) = step.items()
        pending += _MESSAGES[kind](arguments)
        copies = copies or kind in ("copy", "done", "fail")
        if kind in ("query", "sync"):
            yield connection.ask(pending, prompted=not copies)
            pending, copies = b"", False


def _bind(portal: str, statement: str, given: Iterable[Any] = (), results: str = "text") -> bytes:
    values = [bytes.fromhex(value["hex"]) if isinstance(value, dict) else value for value in given]
    return wire.bind(portal, statement, values, wire.BINARY if results == "binary" else wire.TEXT)


_MESSAGES: dict[str, Callable[[Any], bytes]] = {
    "query": wire.query,
    "parse": lambda named: wire.parse(named[0], named[1], named[2:]),
    "bind": lambda bound: _bind(*bound),
    "describe": lambda named: wire.describe(*named),
    "execute": lambda named: wire.execute(*named),
    "close": lambda named: wire.close(*named),
    "copy": lambda rows: wire.message(b"d", rows.encode()),
    "done": lambda _: wire.message(b"c"),
    "fail": lambda _: wire.message(b"f", wire.text("no more")),
    "flush": lambda _: wire.FLUSH,
    "sync": lambda _: wire.SYNC,
}


class Sessions:
    """Connections that are used again and again, by whatever tells them apart, and opened anew where one was lost."""

    def __init__(self) -> None:
        self._open: dict[tuple[Any, ...], Connection] = {}

    def run(self, key: tuple[Any, ...], connect: Any, attack: Attack, mode: Mode) -> list[Answer]:
        """Carries ``attack`` out on the connection for ``key``, which ``connect()`` opens."""
        if attack.alone:
            with connect() as connection:
                return carry_out(connection, attack, mode)
        if key not in self._open:
            self._open[key] = connect()
        found = carry_out(self._open[key], attack, mode)
        if len(found) < 3 or found[-1].messages[-1] != ("Z", b"I"):
            self._open.pop(key).close()
        return found

    def close(self) -> None:
        for connection in self._open.values():
            with suppress(OSError):
                connection.close()
        self._open.clear()
