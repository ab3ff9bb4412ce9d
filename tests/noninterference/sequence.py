"""Named sequences of statements that change the databases, as readable data, and what must hold after each.

A member of a group in ``attacks/*.yaml`` is a sequence if it has the key ``sequence``::

    copying a hidden cell:
      sequence: ["UPDATE wards SET title = (SELECT name FROM patients WHERE id = 5) WHERE code = 'east'"]

    a registration:
      sequence:
        - BEGIN
        - "INSERT INTO patients (id, ward, name) VALUES (20, 'east', 'Joe')"
        - {copy: "20\\tmarketing\\n", sql: "COPY agreement_log (patient_id, purpose) FROM STDIN"}
        - {by: auditor, sql: "SELECT count(*) FROM patients"}
        - COMMIT
      afterwards: ["SELECT name FROM clinic.patients WHERE id = 20"]
      answers: ["", "", "", "", "42501"]

It is played on both databases, each as it was made, and these must be equal on both: every answer; and afterwards all
that the databases hold, but for the cells that were hidden (and so differed) at the start. Hidden cells must be what
they were in every row that is still there, so that no mask is written over a value. Then it is played by ``director``
through consentry and directly: the same answers, and the same cells.

==============  ======================================================================================================
``sequence``    what is done, in order. A statement, sent in the simple protocol and once more in the extended one; or
                a mapping: ``sql``, or ``protocol`` (messages as in ``attack.py``); ``by``: a role, on a connection of
                its own; ``direct``: a role, without consentry; ``pause``: seconds; ``copy``: the rows for a COPY FROM
                STDIN, or ``hex`` for binary ones; ``unanswered``: true where others have to do something before the
                answer comes (it is read when that connection goes on)
``afterwards``  further queries, asked directly by the owner; must give the same on both. For what is no cell of a
                table: ``SELECT pg_get_viewdef(…)``, sequences have their place among the cells
``answers``     the SQLSTATE of the first error in each answer of ``role`` through consentry, "" for none
``role``        who plays it; default ``analyst``
``purpose``     of that role's session; default ``marketing``; of other roles it is the policy's ``default_purpose``
``overwrites``  true: it may change hidden cells (set to NULL by whoever may, or written by a role that sees them)
``blind``       true: without consentry it would not show either (its point is to be refused, or to be allowed)
``twin``        ``same`` (default): the same for ``director`` as without consentry; ``refused`` by design; ``less``: not
                refused, but shows less; ``later``: a known defect
``xfail``       a known defect, and why
``since``       the major version of PostgreSQL that has what it uses. On an older one it has no twin and no
                ``answers``, and need not show without consentry
==============  ======================================================================================================

What a sequence makes (tables, functions) may be anything: its databases are made anew where more than rows changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

from tests.noninterference import conversation as wire
from tests.noninterference.attack import Mode, converse, entries
from tests.noninterference.conversation import Answer, Closed, Connection

TAKEN_UP = 0.15
"""Seconds that a statement whose answer is not awaited gets to reach the lock that it waits for."""

Played = str | dict[str, Any]
"""A statement, or a mapping as described above."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """Statements that change the databases."""

    group: str
    name: str
    sequence: tuple[Played, ...]
    afterwards: tuple[str, ...] = ()
    answers: tuple[str, ...] | None = None
    role: str = "analyst"
    purpose: str = "marketing"
    overwrites: bool = False
    blind: bool = False
    twin: Literal["same", "less", "refused", "later"] = "same"
    xfail: str | None = None
    since: int = 14

    def __str__(self) -> str:
        return f"{self.group}: {self.name}"

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The simple protocol, and the extended one where all of it may be said so."""
        return ("simple", "text") if all(isinstance(step, str) for step in self.sequence) else ("simple",)


def sequences() -> list[Sequence]:
    """Every named sequence."""
    found = []
    for group, name, entry in entries():
        if "sequence" in entry:
            lists = {key: tuple(entry.pop(key)) for key in ("sequence", "afterwards", "answers") if key in entry}
            found.append(Sequence(group, name, **lists, **entry))
    return found


Connect = Callable[[str, str | None, bool], Connection]
"""Opens a connection for a role and a purpose (None: not said); directly if that is true."""


def play(sequence: Sequence, connect: Connect, role: str, mode: Mode, *, pauses: bool = True) -> list[Answer]:
    """Everything that comes back, in the order in which it is read. Without consentry nobody needs ``pauses``."""
    with ExitStack() as stack:
        opened: dict[tuple[str, bool], Connection] = {}
        waited: list[Connection] = []
        found: list[Answer] = []
        try:
            for step in sequence.sequence:
                by, direct = _whose(step)
                if (by, direct) not in opened:
                    purpose = sequence.purpose if by is None and role == sequence.role else None
                    opened[by, direct] = stack.enter_context(connect(by or role, purpose, direct))
                connection = opened[by, direct]
                if connection in waited:
                    waited.remove(connection)
                    found.append(connection.answer())
                if isinstance(step, dict) and step.get("unanswered"):
                    waited.append(connection)
                    connection.send(wire.query(step["sql"]))
                    time.sleep(TAKEN_UP)
                elif isinstance(step, dict) and "pause" in step:
                    time.sleep(step["pause"] if pauses else 0)
                else:
                    found += _answers(connection, step, mode)
            found += [connection.answer() for connection in waited]
        except Closed as closed:
            found.append(Answer((*closed.messages, ("closed", b""))))
        return found


def _whose(step: Played) -> tuple[str | None, bool]:
    """The role of a step (None: who plays), and whether it goes past consentry."""
    if isinstance(step, str):
        return None, False
    return (step["direct"], True) if "direct" in step else (step.get("by"), False)


def _answers(connection: Connection, step: Played, mode: Mode) -> Iterator[Answer]:
    if isinstance(step, str):
        yield connection.query(step) if mode == "simple" else connection.ask(wire.extended(step))
    elif "protocol" in step:
        yield from converse(connection, (one if isinstance(one, dict) else {one: None} for one in step["protocol"]))
    else:
        rows = bytes.fromhex(step["hex"]) if "hex" in step else step["copy"].encode() if "copy" in step else None
        yield connection.ask(wire.query(step["sql"]), rows=rows)
