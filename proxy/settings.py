"""The settings of a session that decisions depend on, with PostgreSQL's own transaction semantics (guc.c). Pure.

Tracked names: ``consentry.purpose``, ``consentry.actor``, ``consentry.subject``, ``consentry.notify``,
``search_path``, ``role``, ``session_authorization``. A setting that is not set is absent (and an empty
``consentry.*`` is none).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal, NamedTuple, Self

from proxy.verdict import (
    Commit,
    DiscardAll,
    Effect,
    Release,
    ResetAll,
    Rollback,
    RollbackTo,
    Savepoint,
    SetSetting,
)

ROLE = "role"
SESSION_AUTHORIZATION = "session_authorization"
ISOLATION = "transaction_isolation"
"""Among the settings of a context where it may be serializable, and only then."""
_NOT_RESET_BY_ALL = frozenset({ROLE, SESSION_AUTHORIZATION})
"""GUC_NO_RESET_ALL of guc_tables.c."""


def serializable(current: Mapping[str, str]) -> bool:
    """A transaction may be serializable under these settings."""
    return current.get(ISOLATION) == "serializable"


def boolean(text: str) -> bool | None:
    """A boolean as PostgreSQL spells it in settings (bool.c, parse_bool_with_len): any unambiguous beginning of a word,
    in any case. None where it is none."""
    folded = text.lower()
    if not folded:
        return None
    if "true".startswith(folded) or "yes".startswith(folded) or folded in ("on", "1"):
        return True
    if "false".startswith(folded) or "no".startswith(folded) or folded in ("of", "off", "0"):
        return False
    return None


class _State(Enum):
    """What was done to a setting at one transaction level: guc.c's GucStackState."""

    SET = auto()
    LOCAL = auto()
    SET_LOCAL = auto()


class _Value(NamedTuple):
    """``in_session``: set by a statement of this session (guc.c's PGC_S_SESSION) rather than a start value."""

    text: str | None
    in_session: bool


@dataclass(slots=True)
class _Entry:
    """guc.c's GucStack: ``prior`` is the value before this level, ``masked`` a SET's value under a SET LOCAL."""

    level: int
    state: _State
    prior: _Value
    masked: _Value | None = None

    def copy(self) -> _Entry:
        return _Entry(self.level, self.state, self.prior, self.masked)


class _Setting:
    """One setting: its value and guc.c's stack of what transaction levels did to it."""

    __slots__ = ("stack", "start", "value")

    def __init__(self, start: str | None) -> None:
        self.start = start
        self.value = _Value(start, in_session=False)
        self.stack: list[_Entry] = []

    def copy(self) -> _Setting:
        twin = _Setting(self.start)
        twin.value = self.value
        twin.stack = [entry.copy() for entry in self.stack]
        return twin

    def set(self, text: str | None, local: bool, level: int) -> None:
        """SET, or RESET where ``text`` is None."""
        self._push(local, level)
        self.value = _Value(self.start, in_session=False) if text is None else _Value(text, in_session=True)

    def _push(self, local: bool, level: int) -> None:
        """guc.c, push_old_value()."""
        entry = self.stack[-1] if self.stack else None
        if entry is None or entry.level < level:
            self.stack.append(_Entry(level, _State.LOCAL if local else _State.SET, self.value))
        elif not local:
            entry.state, entry.masked = _State.SET, None
        elif entry.state is _State.SET:
            entry.state, entry.masked = _State.SET_LOCAL, self.value

    def end(self, level: int, committed: bool) -> None:
        """The end of transaction ``level`` and those above: guc.c, AtEOXact_GUC()."""
        while self.stack and self.stack[-1].level >= level:
            entry = self.stack[-1]
            below = self.stack[-2] if len(self.stack) > 1 else None
            if not committed:
                self.value = entry.prior
            elif entry.level == 1:
                self._commit(entry)
            elif below is None or below.level < entry.level - 1:
                entry.level -= 1
                continue
            else:
                _merge(entry, below)
            self.stack.pop()

    def _commit(self, entry: _Entry) -> None:
        if entry.state is _State.LOCAL:
            self.value = entry.prior
        elif entry.masked is not None:
            self.value = _Value(entry.masked.text, in_session=True)


def _merge(entry: _Entry, below: _Entry) -> None:
    """A released savepoint's entry becomes part of the one a level below."""
    if entry.state is _State.SET:
        below.state, below.masked = _State.SET, None
    elif entry.state is _State.SET_LOCAL:
        below.state, below.masked = _State.SET_LOCAL, entry.masked
    elif below.state is _State.SET:
        below.state, below.masked = _State.SET_LOCAL, entry.prior


class Settings:
    """A stack of transaction levels over the session's start values.

    Every statement runs in some transaction. Where the client opened none, the caller says when the implicit one is
    over (:meth:`end_transaction`): after a simple query of one or more statements, or at Sync.
    """

    def __init__(self, start: Mapping[str, str]) -> None:
        self._settings = {name: _Setting(value) for name, value in start.items()}
        self._savepoints: list[str] = []
        self._current: dict[str, str] | None = None

    @property
    def dirty(self) -> bool:
        """Something was set in the transaction under way."""
        return any(setting.stack for setting in self._settings.values())

    @property
    def savepoints(self) -> tuple[str, ...]:
        """The savepoints of the transaction under way, outermost first."""
        return tuple(self._savepoints)

    def current(self) -> Mapping[str, str]:
        """The values now in force, the same object while they are. ``role`` is absent where it is ``none``."""
        if self._current is None:
            self._current = dict(self._in_force())
        return self._current

    def _in_force(self) -> Iterator[tuple[str, str]]:
        for name, setting in self._settings.items():
            text = setting.value.text
            if name == ROLE and text == "none":
                continue
            if text is not None and (text or not name.startswith("consentry.")):
                yield name, text

    def source(self, name: str) -> Literal["startup", "setting"] | None:
        """How the value in force came to be; None where there is none."""
        if name not in self.current():
            return None
        return "setting" if self._settings[name].value.in_session else "startup"

    def apply(self, effect: Effect, in_block: bool) -> None:
        """A statement with ``effect`` completed; ``in_block``: inside an explicit transaction block.

        COMMIT and ROLLBACK end the implicit transaction of a pipeline or multi-statement query too; savepoints exist in
        blocks only; DISCARD ALL runs outside of blocks only and commits at once.
        """
        match effect:
            case SetSetting(name, value, local):
                self._set(name, value, local)
            case ResetAll():
                self._reset_all()
            case DiscardAll():
                self._set(SESSION_AUTHORIZATION, None, local=False)
                self._reset_all()
                self.end_transaction(committed=True)
            case Commit():
                self.end_transaction(committed=True)
            case Rollback():
                self.end_transaction(committed=False)
            case Savepoint(name) if in_block:
                self._savepoints.append(name)
            case Release(name) if name in self._savepoints:
                self._end_level(self._level_of(name), committed=True)
            case RollbackTo(name) if name in self._savepoints:
                self._end_level(self._level_of(name), committed=False)
                self._savepoints.append(name)
            case _:
                pass

    def end_transaction(self, committed: bool) -> None:
        """The transaction under way is over, explicit or implicit."""
        if not self.dirty:
            self._savepoints.clear()
            return
        self._current = None
        for setting in self._settings.values():
            if committed:
                # Subtransactions still open are released first, innermost first (xact.c, CommitTransactionCommand).
                for level in range(len(self._savepoints) + 1, 0, -1):
                    setting.end(level, committed=True)
            else:
                setting.end(1, committed=False)
        self._savepoints.clear()

    def copy(self) -> Self:
        twin = type(self)({})
        twin._settings = {name: setting.copy() for name, setting in self._settings.items()}
        twin._savepoints = list(self._savepoints)
        return twin

    def _set(self, name: str, value: str | None, local: bool) -> None:
        self._current = None
        level = len(self._savepoints) + 1
        self._settings.setdefault(name, _Setting(None)).set(value, local, level)
        if name == SESSION_AUTHORIZATION:
            # SET SESSION AUTHORIZATION does a SET ROLE NONE as well (CVE-2024-10978; guc.c, set_config_with_handle).
            self._set(ROLE, None if value is None else "none", local)

    def _reset_all(self) -> None:
        """guc.c, ResetAllOptions(): what no statement of this session set is left alone."""
        self._current = None
        level = len(self._savepoints) + 1
        for name, setting in self._settings.items():
            if name not in _NOT_RESET_BY_ALL and setting.value.in_session:
                setting.set(None, local=False, level=level)

    def _level_of(self, savepoint: str) -> int:
        """The transaction level of the innermost savepoint of this name."""
        depth = len(self._savepoints) - 1 - self._savepoints[::-1].index(savepoint)
        return depth + 2

    def _end_level(self, level: int, committed: bool) -> None:
        self._current = None
        for setting in self._settings.values():
            for ended in range(len(self._savepoints) + 1, level - 1, -1):
                setting.end(ended, committed=committed)
        del self._savepoints[level - 2 :]
