"""One COPY FROM STDIN whose rows are checked, from its first message to the answer that the client gets."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto

from proxy.copying import CopyGroup
from proxy.session.copied import CopiedRows, Spool
from proxy.session.events import Run
from proxy.verdict import StatementVerdict, Verdict
from proxy.wire import backend


class Stage(Enum):
    STARTED = auto()
    TAKING = auto()
    """The upstream takes data."""
    ENDED = auto()
    STORED = auto()
    CHECKING = auto()
    FAILED = auto()


class Loading:
    """One COPY whose rows are checked, from its first message to the answer that the client gets."""

    def __init__(self, verdict: Verdict, run: Run | None, open_spool: Spool, *, simple: bool) -> None:
        statement = verdict.statements[0]
        assert statement.copying is not None  # noqa: S101 - the caller's condition
        self.verdict = verdict
        self.statement: StatementVerdict = statement
        self.run = run
        self.simple = simple
        self.stage = Stage.STARTED
        self.rows = CopiedRows(statement.copying, open_spool)
        self.complete = b""
        self.stored: int | None = None
        self.checks: Iterator[tuple[CopyGroup, list[bytes]]] = iter(())
        self.prepared: CopyGroup | None = None

    def completed(self, whole: bytes) -> None:
        """The upstream stored everything; the client is not told yet."""
        self.complete = whole
        self.stored = backend.tag_rows(backend.read_tag(whole))
        self.rows.stored(self.stored)
        self.stage = Stage.STORED

    def failed(self) -> None:
        """The upstream answered with an error, to the COPY or to a check."""
        self.stage = Stage.FAILED
        self.rows.close()


def copies(verdict: Verdict) -> bool:
    """The text is a COPY FROM STDIN whose rows are checked."""
    return bool(verdict.statements) and verdict.statements[0].copying is not None
