"""Rows for the tables that the regression scripts fill from files of PostgreSQL's source tree, which are not at hand.

Same columns and the same kinds of values, made up anew: what counts is that queries find rows, not which.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path

Lines = Iterable[tuple[object, ...]]


def write(folder: Path) -> None:
    """Puts every file into ``folder``, in COPY's text format."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in _FILES.items():
        lines = ("\t".join("\\N" if value is None else str(value) for value in row) for row in make(random.Random(18)))
        (folder / name).write_text("".join(f"{line}\n" for line in lines), "utf-8")


def _wisconsin(rows: int) -> Callable[[random.Random], Lines]:
    """The relations of the Wisconsin benchmark: ``onek`` and ``tenk``."""

    def make(chance: random.Random) -> Lines:
        unique1, unique2 = list(range(rows)), list(range(rows))
        chance.shuffle(unique1)
        strings = ("AAAAxx", "HHHHxx", "OOOOxx", "VVVVxx")
        for one, two in zip(unique1, unique2, strict=True):
            cut = [one % size for size in (2, 4, 10, 20, 100, 1000, 2000, 5000, 10000)]
            yield (one, two, *cut, one % 100 * 2, one % 100 * 2 + 1, _name(one), _name(two), strings[two % 4])

    return make


def _name(number: int) -> str:
    letters = "".join(chr(ord("A") + number // 26**place % 26) for place in range(4))
    return f"{letters}xx"


def _people(*more: Callable[[random.Random], object]) -> Callable[[random.Random], Lines]:
    def make(chance: random.Random) -> Lines:
        for name in ("mike", "joe", "sally", "sandra", "alex", "denise", "karen", "bill", "sharon", "linda"):
            place = f"({chance.randint(0, 9)},{chance.randint(0, 9)})"
            yield (name, chance.randint(18, 80), place, *(column(chance) for column in more))

    return make


def _salary(chance: random.Random) -> int:
    return chance.randrange(400, 2000, 100)


def _manager(chance: random.Random) -> str:
    return chance.choice(("sharon", "bill", "linda"))


def _grade(chance: random.Random) -> float:
    return round(chance.uniform(1, 4), 1)


def _percent(chance: random.Random) -> int:
    return chance.randint(1, 100)


def _streets(chance: random.Random) -> Lines:
    kinds = ("Sacramento Ave", "I- 580", "State Hwy 123", "I- 80", "Oak St", "State Hwy 24", "101st Ave")
    for number in range(300):
        points = [f"({chance.uniform(-123, -121):.4f},{chance.uniform(37, 38):.4f})" for _ in range(3)]
        yield (f"{kinds[number % 7]}{' ' * (number % 3)}", f"[{','.join(points)}]")


def _pairs(chance: random.Random) -> Lines:
    for _ in range(2000):
        number = chance.randint(0, 2**31 - 1)
        yield (number, chance.randint(0, 2**30))


def _arrays(chance: random.Random) -> Lines:
    for number in range(1, 101):
        numbers = [chance.randint(0, 99) for _ in range(chance.randint(0, 8))]
        words = [f"A{'A' * chance.randint(0, 9)}{chance.randint(1, 99999)}" for _ in range(chance.randint(0, 6))]
        yield (number, "{" + ",".join(map(str, numbers)) + "}", "{" + ",".join(words) + "}")
    yield (101, "{}", "{}")
    yield (102, "{NULL}", "{NULL}")


def _documents(chance: random.Random) -> Lines:
    for number in range(1000):
        document = {"line": number, "date": "CB", "node": chance.choice("AB"), "age": chance.randint(1, 90)}
        document |= {"wait": None} if number % 7 == 0 else {"status": chance.randint(0, 99), "bar": "baz"}
        yield (json.dumps(document),)


def _rectangles(chance: random.Random) -> Lines:
    for _ in range(3000):
        x, y = chance.randint(0, 50000), chance.randint(0, 50000)
        yield (f"({x + chance.randint(0, 99)},{y + chance.randint(0, 99)}),({x},{y})",)


def _aggregated(_: random.Random) -> Lines:
    return ((56, "7.8"), (100, "99.097"), (0, "0.09561"), (42, "324.78"))


def _texts(chance: random.Random) -> Lines:
    words = "wr qh eq yh pl es at ab cd ef gh the cat sat on mat yt rt wi".split()
    for _ in range(500):
        chosen = [f"{chance.choice(words)}:{place}" for place in range(1, chance.randint(2, 20))]
        text = " ".join(part.partition(":")[0] for part in chosen)
        yield (text, " ".join(sorted(chosen)))


_FILES: dict[str, Callable[[random.Random], Lines]] = {
    "onek.data": _wisconsin(1000),
    "tenk.data": _wisconsin(10000),
    "agg.data": _aggregated,
    "person.data": _people(),
    "emp.data": _people(_salary, _manager),
    "student.data": _people(_grade),
    "stud_emp.data": _people(_salary, _manager, _grade, _percent),
    "streets.data": _streets,
    "desc.data": _pairs,
    "hash.data": _pairs,
    "array.data": _arrays,
    "jsonb.data": _documents,
    "rect.data": _rectangles,
    "tsearch.data": _texts,
}
