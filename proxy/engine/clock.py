"""The statement's own time as SQL, in the local time of a zone, that no setting of the session can move.

PostgreSQL looks a zone's name up among the abbreviations first: those of the session's ``TimeZone`` (from 18 on, where
``SET timezone = 'UTC-167'`` makes UTC what the client likes) and those of ``timezone_abbreviations``. So no zone is
named in what is generated. Its offsets are written out, as this machine's time zone data has them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

NOW = "pg_catalog.statement_timestamp()"
"""Not ``now()``: that is the transaction's start, and a withdrawal since then would go unseen."""

_YEARS_AHEAD = 10
_STEP = timedelta(days=5)
"""Shorter than any time between two changes of a zone's offset."""

Change = tuple[int, int]
"""The second (since 1970) from which on an offset holds, and this offset in seconds east of UTC."""


def local_now(time_zone: str) -> str | None:
    """The statement's own time as a ``timestamp`` in ``time_zone``; None for a zone that this machine does not know."""
    if time_zone == "UTC":
        return _shifted("pg_catalog.make_interval()")
    changes = _changes(time_zone, datetime.now(UTC).year)
    return None if changes is None else _shifted(_chosen(changes))


def _shifted(interval: str) -> str:
    return f"pg_catalog.timezone({interval}, {NOW})"


@lru_cache(maxsize=64)
def _changes(time_zone: str, year: int) -> tuple[Change, ...] | None:
    """The offset at the start of ``year`` and its changes in the years that follow."""
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
    start = datetime(year, 1, 1, tzinfo=UTC)
    days = timedelta(days=366) * _YEARS_AHEAD
    moments = [start + _STEP * index for index in range(days // _STEP)]
    found = [(int(start.timestamp()), _offset(zone, start))]
    for before, after in pairwise(moments):
        if _offset(zone, before) != _offset(zone, after):
            found.append(_change(zone, before, after))
    return tuple(found)


def _offset(zone: ZoneInfo, moment: datetime) -> int:
    offset = moment.astimezone(zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def _change(zone: ZoneInfo, before: datetime, after: datetime) -> Change:
    """The one change between two moments, to the second."""
    low, high = int(before.timestamp()), int(after.timestamp())
    old = _offset(zone, before)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, datetime.fromtimestamp(middle, UTC)) == old:
            low = middle
        else:
            high = middle
    return high, _offset(zone, after)


def _chosen(changes: tuple[Change, ...]) -> str:
    """The offset in force as an interval; the halves of the list, and theirs, are told apart by one comparison each."""
    if len(changes) == 1:
        return f"pg_catalog.make_interval(0, 0, 0, 0, 0, 0, {changes[0][1]})"
    half = len(changes) // 2
    earlier, later = _chosen(changes[:half]), _chosen(changes[half:])
    moment = f"pg_catalog.to_timestamp({changes[half][0]})"
    return f"CASE WHEN {NOW} OPERATOR(pg_catalog.<) {moment} THEN {earlier} ELSE {later} END"
