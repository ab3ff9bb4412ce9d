"""The policy files of a configuration: read together, read again when they change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import structlog
import typer

from proxy.policy.diagnostic import Diagnostic, Severity
from proxy.policy.in_force import Policies
from proxy.policy.loader import Loaded
from proxy.policy.loader import load as load_policy

WATCH_SECONDS: Final = 1.0
"""How often the files are looked at."""

_State = dict[Path, tuple[int, int, int] | None]

_log = structlog.get_logger(__name__)


class PolicyFiles:
    """``everywhere`` and, by database, those that have a file of their own."""

    def __init__(
        self, everywhere: Path | None, databases: Mapping[str, Path] | None = None, *, enforce: bool = True
    ) -> None:
        self._enforce = enforce
        self._everywhere = everywhere
        self._databases = dict(databases or {})
        self._states: _State = {}

    def read(self) -> Policies | None:
        """What the files say, or None if one of them may not be enforced; what is wrong goes to standard error.

        A key that nothing enforces yet is an error where decisions are enforced: to serve such a policy would promise
        what nobody keeps.
        """
        named = [*({self._everywhere} if self._everywhere else ()), *self._databases.values()]
        before = _states({*named, *self._states})
        loaded = {path: load_policy(path) for path in dict.fromkeys(named)}
        read = _states({*named, *(place for one in loaded.values() for place in _places(one))})
        # What changed while it was read is looked at again.
        self._states = read | {path: state for path, state in before.items() if path in read}
        found = {path: one.report(enforce=self._enforce) for path, one in loaded.items()}
        report(diagnostic for diagnostics in found.values() for diagnostic in diagnostics)
        if any(one.severity is Severity.ERROR for diagnostics in found.values() for one in diagnostics):
            return None
        everywhere = loaded[self._everywhere].policy if self._everywhere else None
        own = {database: loaded[path].policy for database, path in self._databases.items()}
        return Policies(everywhere, {database: policy for database, policy in own.items() if policy is not None})

    def changed(self) -> bool:
        """Some file is not what it was when it was last read, or what it extends is not."""
        return any(_state(path) != state for path, state in self._states.items())


class Reloads:
    """Reads the files again on request, and where ``watch`` says so when they changed; ``put_in_force`` gets what they
    say. An invalid file changes nothing.
    """

    def __init__(self, files: PolicyFiles, put_in_force: Callable[[Policies], None], *, watch: bool) -> None:
        self._files = files
        self._put_in_force = put_in_force
        self._watch = watch
        self._requested = asyncio.Event()

    def request(self) -> None:
        """For a signal's handler."""
        self._requested.set()

    async def run(self) -> None:
        """Until it is cancelled. Reading takes a while, so it is done beside the event loop."""
        while True:
            try:
                async with asyncio.timeout(WATCH_SECONDS if self._watch else None):
                    await self._requested.wait()
            except TimeoutError:
                if not self._files.changed():
                    continue
            self._requested.clear()
            policies = await asyncio.to_thread(self._files.read)
            if policies is None:
                _log.error("the policy is invalid; the one before stays in force")
            else:
                self._put_in_force(policies)


def report(found: Iterable[Diagnostic]) -> None:
    """Diagnostics on standard error."""
    for diagnostic in found:
        typer.echo(str(diagnostic), err=True)


def _places(loaded: Loaded) -> Iterable[Path]:
    return () if loaded.file is None else (one.path for one in loaded.file.lineage())


def _states(paths: Iterable[Path]) -> _State:
    return {path: _state(path) for path in paths}


def _state(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file does (an editor may put another in its place); None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
