"""The audit: who did what to personal information, when, and on which decision.

An event is made in ``events`` (which fields, never a value), chained in ``chain`` (pure, both), rendered through
structlog in ``journal`` and written by a sink in ``sinks`` (in
``shared`` where several processes write to one file). A new event is a method of the journal and a line in
``events``; a new place for lines is a class with :class:`~proxy.audit.sinks.Sink`'s two methods.
"""

from proxy.audit.chain import Damaged, Finding, verify
from proxy.audit.journal import AuditJournal, check_last_line, join_journal, open_journal
from proxy.audit.shared import TURN_BYTES, SharedSink, Turns
from proxy.audit.sinks import FileSink, StreamSink

__all__ = [
    "TURN_BYTES",
    "AuditJournal",
    "Damaged",
    "FileSink",
    "Finding",
    "SharedSink",
    "StreamSink",
    "Turns",
    "check_last_line",
    "join_journal",
    "open_journal",
    "verify",
]
