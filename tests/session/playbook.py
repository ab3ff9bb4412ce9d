"""Playbooks: what a session does, as a script of ``who: what`` lines.

``client>`` and ``upstream>`` say what arrives, ``>client`` and ``>upstream`` what must go out because of it, ``>owner``
what the owner is asked to do. Messages are written short: ``Q SELECT 1``, ``P name text``, ``B portal name``,
``E portal limit``, ``Z I``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from proxy.journal import SessionFacts
from proxy.session import Decide, Session, Surroundings
from proxy.verdict import Verdict
from proxy.wire import backend, frontend, startup
from proxy.wire.client import MessageLimits
from tests.session.rules import FixedPolicy, MemoryJournal, RulesEngine, StaticCatalogs

_EMPTY = {"1", "2", "3", "I", "s", "n", "c"}


LONG = "LONG" + "!" * 2048
"""A text with it is long enough to be decided elsewhere; playbooks say ``LONG``."""


def client_message(line: str) -> bytes:
    kind, _, rest = line.replace("'LONG'", f"'{LONG}'").partition(" ")
    words = rest.split(" ")
    match kind:
        case "Q":
            return frontend.query(rest.encode())
        case "P":
            return frontend.parse(_name(words[0]), " ".join(words[1:]).encode())
        case "B":
            return frontend.bind(_name(words[0]), _name(words[1]))
        case "E":
            return frontend.execute(_name(words[0]), int(words[1]) if len(words) > 1 else 0)
        case "D" | "C":
            return frontend.message(ord(kind), words[0].encode() + _name(words[1]) + b"\0")
        case _:
            return frontend.message(ord(kind), rest.encode())


def upstream_message(line: str) -> bytes:
    kind, _, rest = line.partition(" ")
    match kind:
        case "E" | "N":
            sqlstate, _, message = rest.partition(" ")
            fields = {"S": "ERROR", "V": "ERROR", "C": sqlstate, "M": message}
            return backend.message(ord(kind), backend.error_response(fields)[5:])
        case "C":
            return backend.message(ord(kind), rest.encode() + b"\0")
        case "S":
            return backend.message(ord(kind), rest.replace("=", "\0").encode() + b"\0")
        case "A":
            return backend.message(ord(kind), b"\0\0\0\7" + rest.encode() + b"\0a payload\0")
        case _ if kind in _EMPTY:
            return backend.message(ord(kind), b"")
        case _:
            return backend.message(ord(kind), rest.encode())


def _name(word: str) -> bytes:
    return b"" if word == "''" else word.encode()


def _split(data: bytes) -> list[bytes]:
    messages = []
    while data:
        size = int.from_bytes(data[1:5], "big") + 1
        messages.append(data[:size])
        data = data[size:]
    return messages


def client_line(whole: bytes) -> str:
    """A message that goes upstream, as the playbook writes it."""
    kind = whole[0]
    match kind:
        case frontend.QUERY:
            return f"Q {frontend.read_query(whole).decode()}"
        case frontend.PARSE:
            name, text, _ = frontend.read_parse(whole)
            return f"P {name.decode() or repr('')} {text.decode()}"
        case frontend.BIND:
            portal, statement, _ = frontend.read_bind(whole)
            return f"B {portal.decode() or repr('')} {statement.decode() or repr('')}"
        case frontend.EXECUTE:
            portal, limit = frontend.read_execute(whole)
            return f"E {portal.decode() or repr('')}" + (f" {limit}" if limit else "")
        case frontend.DESCRIBE | frontend.CLOSE:
            target, name = frontend.read_target(whole)
            return f"{chr(kind)} {target.decode()} {name.decode() or repr('')}"
        case _:
            return chr(kind)


def upstream_line(whole: bytes) -> str:
    """A message that goes to the client, as the playbook writes it."""
    kind = whole[0]
    match kind:
        case backend.ERROR_RESPONSE | backend.NOTICE_RESPONSE:
            fields = backend.read_fields(whole)
            severity = "" if fields["V"] != "FATAL" else "FATAL "
            return f"{chr(kind)} {severity}{fields['C']} {fields['M']}"
        case backend.NOTIFICATION_RESPONSE:
            return f"A {backend.read_channel(whole)}"
        case backend.COMMAND_COMPLETE:
            return f"C {backend.read_tag(whole).decode()}"
        case _:
            return f"{chr(kind)} {whole[5:].decode()}".strip()


class Stage:
    """A session that is logged in, and what its owner would do."""

    def __init__(self) -> None:
        self.journal = MemoryJournal()
        self.engine = RulesEngine()
        self.catalogs = StaticCatalogs()
        self.deciding: list[Callable[[], Verdict]] = []
        clock = itertools.count(step=1e-4)
        surroundings = Surroundings(
            self.engine, self.journal, FixedPolicy(), self.catalogs, MessageLimits(), lambda: next(clock)
        )
        self.session = Session(surroundings, SessionFacts("session", "client"), "token")
        self._log_in()

    def _log_in(self) -> None:
        self.session.client_data(startup.startup_message({"user": "me", "database": "db"}))
        self.session.upstream_connected()
        ready = backend.message(backend.READY_FOR_QUERY, b"I")
        self.session.upstream_data(backend.message(backend.AUTHENTICATION, bytes(4)) + ready)
        values = [b"me", b"me", b"db", b"UTF8", b"on", b"public", b"none", b"", b"", b"", b"", b"read committed", b"f"]
        row = b"".join(len(value).to_bytes(4, "big") + value for value in values)
        self.session.upstream_data(
            backend.message(backend.DATA_ROW, len(values).to_bytes(2, "big") + row)
            + backend.message(backend.COMMAND_COMPLETE, b"SELECT 1\0")
            + ready
        )
        self.catalogs.load("db")
        self.session.catalog_ready()
        self.taken()
        self.journal.events.clear()

    def taken(self) -> list[str]:
        """What goes out, as playbook lines."""
        box = self.session.outbox
        lines = [f">upstream {client_line(whole)}" for whole in _split(b"".join(box.upstream))]
        lines += [f">client {upstream_line(whole)}" for whole in _split(b"".join(box.client))]
        lines += [f">owner {type(command).__name__}" for command in box.commands]
        self.deciding = [command.make for command in box.commands if isinstance(command, Decide)] or self.deciding
        box.upstream, box.client, box.commands = [], [], []
        return [line.replace("consentry token ", "private ").replace(LONG, "LONG") for line in lines]

    def arrive(self, who: str, messages: list[str], piece: int = 0) -> list[str]:
        """``messages`` arrive, in pieces of ``piece`` bytes if that is not 0."""
        if who == "owner":
            for what in messages:
                self._owned(what)
            return self.taken()
        build, receive = {
            "client": (client_message, self.session.client_data),
            "upstream": (upstream_message, self.session.upstream_data),
        }[who]
        data = b"".join(map(build, messages))
        for start in range(0, len(data), piece or len(data)):
            receive(data[start : start + (piece or len(data))])
        return self.taken()

    def _owned(self, what: str) -> None:
        """The owner has done something: ``ready`` (the catalog), ``decided`` or ``failed`` (what was to be decided)."""
        if what == "ready":
            self.catalogs.load("db", anew=True)
            self.session.catalog_ready()
        else:
            make = self.deciding.pop()
            self.session.decided(make() if what == "decided" else None)


def play(script: str, piece: int = 0) -> None:
    """Plays a script; what goes out after each arrival must be exactly what stands there."""
    stage = Stage()
    arrivals: list[tuple[str, list[str], list[str]]] = []
    for raw in script.strip().splitlines():
        who, _, what = raw.strip().partition(" ")
        if who.startswith(">"):
            arrivals[-1][2].append(f"{who} {what}".strip())
        elif arrivals and arrivals[-1][0] == who.removesuffix(">") and not arrivals[-1][2]:
            arrivals[-1][1].append(what)
        else:
            arrivals.append((who.removesuffix(">"), [what], []))
    for who, messages, expected in arrivals:
        assert stage.arrive(who, messages, piece) == expected, (who, messages)
