"""Random conversations of clients, message by message, and what line noise and bad drivers make of them."""

from __future__ import annotations

from random import Random

from proxy.wire import frontend

_NAMES = (b"", b"", b"a", b"b")
_TEXTS = (
    "SELECT 1",
    "SELECT SECRET",
    "SELECT 2 WHERE true",
    "SELECT GUARDED",
    "SELECT REFUSE",
    "FAIL",
    "",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SET consentry.purpose = 'all'",
    "SET consentry.purpose = 'some'",
    "SET LOCAL consentry.purpose = 'all'",
    "PREPARE a AS SELECT 1",
    "PREPARE b AS SELECT SECRET",
    "DEALLOCATE a",
    "DEALLOCATE ALL",
    "COPY sink TO STDOUT",
    "COPY sink FROM STDIN",
)
_SEVERAL = (
    "SELECT 1; SELECT SECRET",
    "SELECT 1; FAIL; SELECT 2",
    "BEGIN; SELECT 1",
    "COMMIT; BEGIN",
    "SELECT REFUSE; BEGIN",
)


def conversation(random: Random, messages: int) -> list[bytes]:
    """As a driver would have it, more or less: what is prepared is bound, what is bound is executed."""
    said: list[bytes] = []
    while len(said) < messages:
        said += _exchange(random)
    return [*said, frontend.SYNC_MESSAGE]


def _exchange(random: Random) -> list[bytes]:
    text = random.choice(_TEXTS).encode()
    statement, portal = random.choice(_NAMES), random.choice(_NAMES)
    match random.randrange(8):
        case 0:
            return [frontend.query(text), *_copy_data(random, text)]
        case 1:
            return [frontend.query(random.choice(_SEVERAL).encode())]
        case 2:
            return [frontend.parse(statement, text), frontend.describe(frontend.STATEMENT, statement)]
        case 3:
            limit = random.choice((0, 0, 1, 2, 3))
            return [frontend.bind(portal, statement), frontend.execute(portal, limit), frontend.execute(portal, limit)]
        case 4:
            return [frontend.close(random.choice((b"S", b"P")), statement), frontend.FLUSH_MESSAGE]
        case 5:
            return [frontend.SYNC_MESSAGE]
        case 6:
            return [frontend.describe(frontend.PORTAL, portal), frontend.execute(portal)]
        case _:
            pipeline = [
                frontend.parse(b"", text),
                frontend.bind(b"", b""),
                frontend.describe(frontend.PORTAL, b""),
                frontend.execute(b""),
                *_copy_data(random, text),
            ]
            return [*pipeline, frontend.SYNC_MESSAGE]


def _copy_data(random: Random, text: bytes) -> list[bytes]:
    if b"STDIN" not in text:
        return []
    end = random.choice((frontend.COPY_DONE, frontend.COPY_FAIL))
    data = [frontend.message(frontend.COPY_DATA, b"1\n") for _ in range(random.randrange(3))]
    return [*data, frontend.message(end, b"" if end == frontend.COPY_DONE else b"no\0")]


def disordered(random: Random, said: list[bytes]) -> list[bytes]:
    """Whole messages still, some of them lost, repeated or in another place."""
    said = list(said)
    for _ in range(random.randrange(4)):
        place, other = random.randrange(len(said)), random.randrange(len(said))
        match random.randrange(3):
            case 0:
                said.insert(other, said[place])
            case 1:
                said[place], said[other] = said[other], said[place]
            case _ if len(said) > 1:
                del said[place]
    return [*said, frontend.SYNC_MESSAGE]


def damaged(random: Random, said: list[bytes]) -> list[bytes]:
    """One message is no longer what it was: bytes, length, type or end of it."""
    said = list(said)
    place = random.randrange(len(said))
    whole = bytearray(said[place])
    if len(whole) < 5:
        return said
    match random.randrange(6):
        case 0:
            whole[random.randrange(len(whole))] = random.randrange(256)
        case 1:
            whole[1:5] = random.choice((0, 3, 4, 5, 1 << 16, 1 << 24, (1 << 31) - 1, (1 << 32) - 1)).to_bytes(4, "big")
        case 2:
            whole[0] = random.randrange(256)
        case 3:
            del whole[random.randrange(len(whole)) :]
        case 4:
            at = random.randrange(len(whole))
            whole[at:at] = random.randbytes(random.randrange(1, 40))
        case _:
            length = int.from_bytes(whole[1:5], "big") + random.choice((-1, 1))
            whole[1:5] = max(length, 0).to_bytes(4, "big")
    said[place] = bytes(whole)
    return said


def pieces(random: Random, data: bytes) -> list[bytes]:
    """As the network delivers it."""
    size = random.choice((1, 3, 7, 64, 1 << 20))
    return [data[start : start + size] for start in range(0, len(data), size)]
