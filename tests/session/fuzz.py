"""Fuzzing of framing and session: ``python -m tests.session.fuzz --packets 1000000 --seed 1``.

Conversations run between a session and a model of the upstream, in pieces and in any interleaving; some are put out of
order, some damaged, and some upstreams answer noise. Whatever comes, a session raises nothing, waits for nothing that
will not come, tells the client whole messages, and ends only as it may.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from dataclasses import dataclass, field
from random import Random

from proxy.journal import SessionFacts
from proxy.session import Close, Connect, Fault, LoadCatalog, ObservingSession, Session, Surroundings
from proxy.wire import backend, startup
from proxy.wire.client import MessageLimits
from tests.session.conversation import conversation, damaged, disordered, pieces
from tests.session.rules import FixedPolicy, MemoryJournal, RulesEngine, StaticCatalogs
from tests.session.upstream_model import UpstreamModel

MESSAGES = 40
KINDS = ("in order", "out of order", "damaged", "noisy upstream", "damaged start", "observed")


class Found(AssertionError):
    """Something that must not be; the seed shows it again."""


@dataclass(slots=True)
class Run:
    """One conversation. ``packets``: messages that went either way."""

    random: Random
    kind: str
    session: Session
    journal: MemoryJournal
    catalogs: StaticCatalogs
    upstream: UpstreamModel = field(default_factory=UpstreamModel)
    to_client: bytearray = field(default_factory=bytearray)
    to_session: bytearray = field(default_factory=bytearray)
    connected: bool = False
    lost: bool = False
    packets: int = 0
    sent: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)
    greeting: int = 0

    def play(self) -> None:
        """All of it. Raises Found."""
        start = startup.startup_message({"user": "me", "database": "db"})
        said = conversation(self.random, MESSAGES)
        if self.kind != "in order":
            said = disordered(self.random, said)
        if self.kind == "damaged":
            for _ in range(self.random.randrange(1, 4)):
                said = damaged(self.random, said)
        if self.kind == "damaged start":
            (start,) = damaged(self.random, [start])
        self.packets += len(said)
        for piece in pieces(self.random, start + b"".join(said)):
            if self.lost:
                break
            self.session.client_data(piece)
            self._obey()
            if self.random.random() < 0.5:
                self._deliver(self.random.randrange(1, 200))
        self._settle()
        if self.kind == "observed" and self.upstream.closed:
            return  # amid COPY data anything else makes the server hang up
        if self.kind == "observed":
            self._compare(b"".join(said))
        else:
            self._judge()

    def _compare(self, said: bytes) -> None:
        """Nothing was changed in either direction after login."""
        if not self.sent.endswith(said):
            raise Found("the upstream did not get what the client said")
        if not self.to_client.endswith(self.answered[self.greeting :]):
            raise Found("the client did not get what the upstream said")
        if self.session.ended:
            raise Found("the session ended")

    def _settle(self) -> None:
        """Until nothing moves any more."""
        for _ in range(10_000):
            self._obey()
            if not self._deliver(1 << 20):
                return
        raise Found("it never comes to rest")

    def _obey(self) -> None:
        box = self.session.outbox
        sent, box.upstream = b"".join(box.upstream), []
        self.to_client += b"".join(box.client)
        box.client.clear()
        commands, box.commands = box.commands, []
        if sent and self.connected:
            self.sent += sent
            self.upstream.receive(sent)
            self.answered += self.upstream.answers
            self.to_session += self._as_sent(bytes(self.upstream.answers))
            self.upstream.answers.clear()
        for command in commands:
            self._carry_out(command)

    def _carry_out(self, command: object) -> None:
        match command:
            case Connect():
                self.connected = True
                self.session.upstream_connected()
                self._obey()
            case LoadCatalog(database, anew):
                self.catalogs.load(database, anew)
                self.greeting = self.greeting or len(self.answered)
                self.session.catalog_ready()
                self._obey()
            case Fault(error) if self.kind != "noisy upstream" or not isinstance(error, Exception):
                raise Found(f"fault: {error!r}") from error
            case Close():
                self.lost = True

    def _as_sent(self, answers: bytes) -> bytes:
        if self.kind != "noisy upstream" or not answers or self.random.random() < 0.8:
            return answers
        return damaged(self.random, [answers])[0]

    def _deliver(self, size: int) -> bool:
        """The upstream's next bytes arrive, or its end. False if there is nothing."""
        if self.lost:
            return False
        data, self.to_session = bytes(self.to_session[:size]), self.to_session[size:]
        if data:
            self.packets += 1
            self.session.upstream_data(data)
        elif self.upstream.closed and self.connected:
            self.lost = True
            self.session.upstream_lost()
        else:
            return False
        self._obey()
        return True

    def _judge(self) -> None:
        last, fatal = self._last_message()
        if self.session.ended:
            over = self.journal.events[-1] if self.journal.events else None
            # One that was refused when it asked to start has neither start nor end.
            if over is not None and over[0] not in ("session_end", "refusal"):
                raise Found(f"the audit does not know that the session is over: {over}")
            if self.kind in ("in order", "out of order", "damaged") and fatal is not None and fatal not in ALLOWED:
                raise Found(f"the session ended with {fatal}")
        elif self.kind in ("in order", "out of order") and self.session.state in WAITING and last != b"G":
            raise Found(f"the session waits for ever, after {last!r}")

    def _last_message(self) -> tuple[bytes, str | None]:
        """Its type, and the SQLSTATE if it is a FATAL error. Raises Found if anything of it is missing."""
        data, last, fatal = bytes(self.to_client), b"", None
        if not self.connected:
            data = data.lstrip(b"N").removeprefix(startup.TLS_HANDSHAKE_FAILURE)
        while data:
            size = 1 + int.from_bytes(data[1:5], "big")
            if size < 5 or size > len(data):
                if self.kind == "noisy upstream" or self.session.ended:
                    return last, fatal  # what was on its way is cut off with the session
                raise Found(f"half a message for the client: {data[:40]!r}")
            last, whole, data = data[:1], data[:size], data[size:]
            fatal = None
            if last[0] == backend.ERROR_RESPONSE:
                fields = backend.read_fields(whole)
                fatal = fields.get("C") if fields.get("V") == "FATAL" else None
        return last, fatal


WAITING = ("starting", "active")
ALLOWED = frozenset({"08P01", "42501", "0A000"})
"""How a client that breaks the rules may end its session; whatever it does, never as if consentry had lost its way."""


def run(seed: int, kind: str) -> int:
    """One conversation; how many packets it had. Raises Found."""
    journal, catalogs, clock = MemoryJournal(), StaticCatalogs(), itertools.count(step=1e-4)
    surroundings = Surroundings(
        RulesEngine(), journal, FixedPolicy(), catalogs, MessageLimits(4096, 1 << 20), lambda: next(clock)
    )
    made = ObservingSession if kind == "observed" else Session
    session = made(surroundings, SessionFacts("session", "client"), "token")
    playing = Run(Random(f"{kind} {seed}"), kind, session, journal, catalogs)
    try:
        playing.play()
    except Found as found:
        raise Found(f"seed {seed}, {kind}: {found}") from found
    except Exception as error:
        raise Found(f"seed {seed}, {kind}: raised {error!r}") from error
    return playing.packets


def main() -> None:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began, packets, found = time.monotonic(), 0, 0
    for seed in itertools.count(options.seed * 1_000_000):
        for kind in KINDS:
            try:
                packets += run(seed, kind)
            except Found as finding:
                found += 1
                print(finding, flush=True)
        if packets >= options.packets or found >= 20:
            break
    print(f"{packets} packets, {found} findings, {time.monotonic() - began:.0f} s")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
