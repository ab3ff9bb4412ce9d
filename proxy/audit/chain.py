"""The hash chain of the audit: what makes an edited, deleted, inserted or moved line visible. Pure.

A line is one compact JSON object whose last fields are ``chain, seq, prev, hash``. ``hash`` is the SHA-256
(HMAC-SHA-256 when a key is given) of the line's bytes without ``,"hash":"…"``, so a shell can recompute it; ``prev`` is
the ``hash`` of the line before, and ``seq`` counts on from it. ``chain`` names the process that wrote the line. Where
several processes write to one file, each goes on from its own line, and ``beside`` is the ``hash`` of the line that
stands before in the file, if another process wrote that.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

_SEAL = len(',"hash":""}') + 64


@dataclass(frozen=True, slots=True)
class Head:
    """The newest line of an audit: what the next one continues. Before the first line, all zeros."""

    seq: int = 0
    hash: str = "0" * 64


@dataclass(frozen=True, slots=True)
class Finding:
    """What :func:`verify` found wrong at ``line`` (from 1). A warning leaves the chain whole."""

    line: int
    severity: Literal["error", "warning"]
    code: str
    message: str


class Damaged(Exception):
    """A line that is no audit line, or whose hash is not that of its text under this key."""


def digest(body: bytes, key: bytes | None) -> str:
    """The hash of a line's body, 64 hexadecimal digits."""
    if key is None:
        return hashlib.sha256(body).hexdigest()
    return hmac.digest(key, body, "sha256").hex()


def seal(event: str, chain: str, after: Head, key: bytes | None, beside: str | None = None) -> tuple[bytes, Head]:
    """The line (with its newline) that records an event next after ``after``, and the head that it makes.

    ``event`` is the inside of a compact JSON object (``"ts":"…","event":"…"``). ``beside`` is the hash of the line that
    stands before this one in the file, where that is of another chain. A lone surrogate, which UTF-8 has no
    form for, is written as its JSON escape.
    """
    seq = after.seq + 1
    if beside is not None:
        event = f'{event},"beside":"{beside}"'
    body = f'{{{event},"chain":"{chain}","seq":{seq},"prev":"{after.hash}"}}'.encode(errors="backslashreplace")
    own = digest(body, key)
    return b'%s,"hash":"%s"}\n' % (body[:-1], own.encode()), Head(seq, own)


def unseal(line: bytes, key: bytes | None) -> dict[str, Any]:
    """The event that a line (without its newline) records. Raises :class:`Damaged`."""
    try:
        event = json.loads(line)
    except ValueError:
        raise Damaged("is not JSON") from None
    if not isinstance(event, dict):
        raise Damaged("is not a JSON object")
    own = event.get("hash")
    if type(event.get("seq")) is not int or not isinstance(event.get("prev"), str) or not isinstance(own, str):
        raise Damaged("has no seq, prev and hash")
    body = line[:-_SEAL] + b"}"
    if line != b'%s,"hash":"%s"}' % (body[:-1], own.encode(errors="replace")) or digest(body, key) != own:
        raise Damaged("was edited, or another key was used: its hash is not that of its text")
    return event


def head_of(line: bytes, key: bytes | None) -> Head:
    """The head that a last line (without its newline) makes. Raises :class:`Damaged`."""
    event = unseal(line, key)
    return Head(event["seq"], event["hash"])


def ends_of(line: bytes) -> tuple[int, bytes, bytes]:
    """Number, hash and chain of a line with its newline, as it says; anything for what is no audit line."""
    number = line[line.rfind(b'"seq":') + len(b'"seq":') :].partition(b",")[0]
    chain = line.rfind(b'"chain":"') + len(b'"chain":"')
    return int(number) if number.isdigit() else 0, line[-67:-3], line[chain : line.find(b'"', chain)][:12]


def verify(lines: Iterable[bytes], key: bytes | None = None) -> Iterator[Finding]:
    """Every break of the chains in ``lines`` (each with its newline). Nothing found means nothing was tampered with.

    A chain begins after the line that stands before it, whoever wrote that, and each of its lines follows the one
    before in the chain. So this finds any edit, deletion, insertion or reordering, and a cut at the start. A last line
    without a newline is what a crash leaves behind: a warning. Lines cut at the end leave no trace in the file itself.
    """
    last: Head | None = Head()
    heads: dict[str, Head | None] = {}
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):
            yield Finding(number, "warning", "torn-line", "the last line is incomplete, as after a crash")
            return
        try:
            event = unseal(line[:-1], key)
        except Damaged as damaged:
            yield Finding(number, "error", "damaged-line", f"the line {damaged}")
            last = _claimed(line)
            heads[ends_of(line)[2].decode(errors="replace")] = last
            continue
        chain = str(event.get("chain"))
        before = heads.get(chain, last)
        if before is not None and (event["prev"] != before.hash or event["seq"] != before.seq + 1):
            yield Finding(number, "error", "broken-chain", _break(event, before))
        elif last is not None and event.get("beside", last.hash) != last.hash:
            yield Finding(number, "error", "broken-chain", "lines of other chains are missing before it, or were moved")
        last = heads[chain] = Head(event["seq"], event["hash"])


def _claimed(line: bytes) -> Head | None:
    """The head that a damaged line says it is, so that one edit is one finding; None if it does not say."""
    try:
        event = json.loads(line)
        return Head(int(event["seq"]), str(event["hash"]))
    except (ValueError, TypeError, KeyError):
        return None


def _break(event: Mapping[str, Any], head: Head) -> str:
    if event["seq"] > head.seq + 1:
        return f"events {head.seq + 1} to {event['seq'] - 1} are missing before it"
    if event["seq"] <= head.seq:
        return f"event {event['seq']} stands after event {head.seq}: lines were inserted, repeated or moved"
    return f"its prev is not the hash of event {head.seq}"
