"""The rows of the clinic on either side. Hidden cells differ in value, length and order, up to the ends of their types,
and their masked images are equal.
"""

# ruff: noqa: E501 - one column, or one row, a line

from __future__ import annotations

from collections.abc import Iterator, Sequence

VISIBLE = (1, 2, 3, 4)
HIDDEN = (5, 6, 7, 8, 9, 10, 11, 12)
"""Patients of whom marketing may see nothing, each for another reason (see ``_CONDITIONS``)."""

Pair = tuple[str | None, str | None]
"""The hidden cell of side 0 and of side 1."""

_LONG = "lorem ipsum dolor sit amet " * 40

# Column: what patients 1 to 4 have, and the pairs that hidden rows take in turn.
_PATIENTS: dict[str, tuple[Sequence[object], Sequence[Pair]]] = {
    "name": (
        ("Ann Lee", "Bob Ray", "王小明", "Eve"),
        (("Ada Lovelace", "A1"), ("1/0", "12"), ("x", "y"), ("張三丰", "張無"), ("Zoe", "Z'; --"),
         ("{1}", "{}"), ("10", "1e9"), ("Émile", "Éva von der Heide")),
    ),
    "nick": (("annlee12", "bobray34", "xiaoming", "evening9"),
             (("abcdef", "azzzzzzzzzzf"), ("ab", "zz9"), ("", "q"), ("m99999n", "m12345n"), ("c", "dd"),
              ("p-----q", "p0q00q"), ("k", "kkk"), ("w%_%%w", "w\\\\\\\\w"))),
    "code": (("C-000001", "C-000002", "C-000003", None),
             (("A", "ZZZZZZZZ"), ("11111111", "B"), ("00000001", "00000002"), ("x", "yy"), ("9", "8"),
              ("abc", "cba"), ("", "long one"), ("%", "_"))),
    "email": (("ann@example.com", "bob@example.com", None, "eve@example.org"),
              (("dan@ex.org", "d123456789@ex.org"), ("none", "a@@b"), ("x@y", ""), ("zed@zed", "zulu@zed"),
               ("é1@ex.org", "éa@ex.org"), ("@@@", "plain text"), ("q1@h", "qq@h"), ("  @b", " x@b"))),
    "born": (("1990-03-07", "1988-11-12", "2001-01-01", "1975-06-30"),
             (("1970-01-01", "1970-12-31"), ("0044-03-15 BC", "0044-12-01 BC"), ("5874897-01-01", "5874897-12-31"),
              ("2000-02-29", "2000-01-01"), ("infinity", "infinity"), ("4714-11-24 BC", "4714-12-31 BC"),
              ("1999-12-31", "1999-01-01"), ("0001-01-01", "0001-12-31"))),
    "seen": (("2025-01-05 10:00+00", "2025-02-05 11:00+00", "2025-03-05 12:00+00", None),
             (("2025-03-01 00:00+00", "2025-03-31 23:59:59.999999+00"), ("1970-01-01 00:00+00", "1970-01-31 00:00+00"),
              ("294276-12-01 00:00+00", "294276-12-31 23:59:59.999999+00"), ("-infinity", "-infinity"),
              ("2024-02-29 01:00+00", "2024-02-01 02:00+00"), ("2000-06-15 00:00+00", "2000-06-16 00:00+00"),
              ("0300-05-05 00:00+00 BC", "0300-05-31 00:00+00 BC"), ("2025-12-31 23:00+00", "2025-12-01 01:00+00"))),
    "noted": (("2025-01-05 10:00", None, "2025-03-05 12:00", "2025-04-05 12:30"),
              (("2025-01-01 00:00", "2025-12-31 23:59:59.999999"), ("294276-01-01 00:00", "294276-12-31 23:59:59"),
               ("1969-12-31 23:59", "1969-01-01 00:00"), ("infinity", "infinity"), ("0010-02-02 BC", "0010-10-10 BC"),
               ("2010-10-10", "2010-01-01"), ("4714-11-24 00:00 BC", "4714-12-31 23:00 BC"), ("1582-10-15", "1582-01-01"))),
    "salary": (("1500.50", "2500.00", "0.00", "-10.25"),
               (("1000.00", "1999.99"), ("-0.01", "-1000.00"), ("9999999999.99", "9999999000.00"), ("0.00", "999.99"),
                ("5000.01", "5000.02"), ("-9999999999.99", "-9999999999.01"), ("2000.00", "2001.00"), ("7.00", "8.00"))),
    "debt": (("100", "250.5", "0", None),
             (("NaN", "Infinity"), ("-Infinity", "NaN"), ("0.0000000000000000000001", "99.9"), ("1e200", "1" + "0" * 198 + "99"),
              ("-1", "-100"), ("100", "199.99999999"), ("1e40", "10000000000000000000000000000000000000099"),
              ("300", "301"))),
    "visits": (("10", "25", "0", "-5"),
               (("10", "19"), ("2147483640", "2147483647"), ("-2147483648", "-2147483647"), ("0", "9"), ("-1", "-10"),
                ("21", "20"), ("30", "39"), ("15", "16"))),
    "steps": (("1000", "2000", None, "-300"),
              (("9223372036854775800", "9223372036854775807"), ("-9223372036854775808", "-9223372036854775807"),
               ("0", "99"), ("-1", "-100"), ("500", "599"), ("1", "2"), ("100", "101"), ("700", "777"))),
    "height": (("180", "165", "172", "190"),
               (("-32768", "32767"), ("0", "1"), ("150", "151"), ("2", "3"), ("7", "-7"), ("9", "8"), ("1", "0"), ("160", "161"))),
    "weight": (("70.5", "82.5", "55", None),
               (("70.5", "74.25"), ("NaN", "Infinity"), ("1e300", "-1e300"), ("0", "4.75"), ("-0.5", "-5"),
                ("2.2250738585072014e-308", "1"), ("100", "104.5"), ("-Infinity", "NaN"))),
    "tall": (("1.75", "1.5", "2", "1.25"),
             (("NaN", "0"), (None, "3.4e38"), ("1e-37", None), ("1", "2"), ("Infinity", "-1"), ("3", "4"), ("0", "-0"), ("8", "9"))),
    "vip": (("t", "f", "t", None), (("t", "f"), ("f", "t"), ("t", "f"), ("f", "t"), ("t", "f"), ("t", "f"), ("f", "t"), ("f", "t"))),
    "token": (("11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222", None, None),
              (("00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
               (None, "33333333-3333-3333-3333-333333333333"), ("44444444-4444-4444-4444-444444444444", None),
               ("55555555-5555-4555-8555-555555555555", "66666666-6666-1666-8666-666666666666"))),
    "badge": (("77777777-7777-7777-7777-777777777777", None, None, None),
              (("88888888-8888-8888-8888-888888888888", "99999999-9999-9999-9999-999999999999"),
               ("aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa", "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb"))),
    "mood": (("low", "mid", "high", None), (("low", "high"), ("high", "mid"), ("mid", "low"), ("low", "mid"))),
    "zip": (("10115", "20095", None, "80331"), (("00000", "99999"), (None, "12345"), ("55555", None), ("11111", "22222"))),
    "rating": (("10", "20", "30", "1000"), (("0", "1000"), ("7", "5"), ("999", "1"), ("44", "43"))),
    "diagnosis": ((("flu", "cold"), ("cold", "gout"), ("gout", ""), ("a", "flu")), ()),
    "bio": (("short", "a little", None, "life"), (("s", _LONG), (_LONG, "t"), ("", "u"), ("Zeus", "apple"))),
}  # fmt: skip

_VITALS: dict[str, tuple[Sequence[object], Sequence[Pair]]] = {
    "tags": (("{red,blue}", "{green}", None, "{}"), (("{}", "{a,b,c,d}"), (None, "{NULL}"), ("{{x},{y}}", "{x}"), ("{red}", None))),
    "counts": (("{1,2}", "{3}", "{}", None), (("{0}", "{1,0}"), ("{2147483647}", None), (None, "{NULL}"), ("[5:6]={1,2}", "{7}"))),
    "extra": (('{"a": 1}', "[1, 2]", None, '"x"'),
              (('{"a": "one"}', '{"a": 1, "a": 2}'), ("[]", "{}"), ("null", "0"), ('"1"', "[1,[2,[3]]]"))),
    "doc": (('{"a": {"b": 1}}', "[1, 2]", "{}", None),
            (('{"a": "x"}', '{"a": {"b": "1/0"}}'), ("1e400", "null"), ("[]", '{"k": [true]}'), (None, '"s"'))),
    "pic": (("\\x00ff", "\\x01", None, "\\x"), (("\\x", "\\xdeadbeef"), (None, "\\x00"), ("\\xff", None), ("\\x6162", "\\x61"))),
    "home": (('("Main St",5)', '("Side St",)', None, '(,7)'), (('("A",1)', '("B",2)'), (None, "(,)"), ("(,)", '("Long road",99)'), ('("Z",0)', None))),
    "stay": (("[2025-01-01,2025-01-05)", "empty", None, "[2025-02-01,)"),
             (("empty", "(,)"), ("[2020-01-01,2021-01-01)", None), (None, "empty"), ("[-infinity,infinity]", "[2025-01-01,2025-01-02)"))),
    "ip": (("10.0.0.1", "::1", None, "10.1.0.0/16"), (("1.2.3.4", "fe80::1"), (None, "0.0.0.0/0"), ("255.255.255.255", None), ("::", "127.0.0.1"))),
    "mac": (("08:00:2b:01:02:03", None, None, "ff:ff:ff:ff:ff:ff"), (("00:00:00:00:00:00", "12:34:56:78:9a:bc"), (None, "aa:aa:aa:aa:aa:aa"))),
    "at": (("(1,2)", "(0,0)", None, "(-1,5)"), (("(0,0)", "(1e300,1e300)"), ("(NaN,1)", None), (None, "(3,4)"), ("(9,9)", "(8,8)"))),
    "bits": (("101", "1", None, "1111"), (("", "1111111111111111"), ("0", None), (None, "1"), ("10", "01"))),
    "lasts": (("1 day", "2 hours", None, "1 month"), (("0", "178000000 years"), ("-1 day", None), (None, "1 microsecond"), ("30 days", "1 month"))),
    "clock": (("10:00", "11:30", None, "23:59"), (("00:00", "24:00"), ("12:34:56.789", "01:00"), ("05:00", "06:00"), ("07:00", "08:00"))),
    "pay": (("1.50", "2", None, "-3"), (("0", "92233720368547758.07"), (None, "-1"), ("5", None), ("6", "7"))),
    "area": (("(1,1),(0,0)", "(2,2),(1,1)", None, "(0,0),(0,0)"), (("(1,1),(0,0)", "(5,5),(4,4)"), (None, "(9,9),(0,0)"), ("(3,3),(2,2)", None))),
    "words": (("'a':1", "'b':2", None, ""), (("'x':1", "'y':9A"), (None, "'z':1,2"), ("", "'w':3"), ("'v':1", None))),
    "moods": (("{low,mid}", "{}", None, "{high}"), (("{low}", "{high,high}"), (None, "{NULL}"), ("{}", None), ("{mid}", "{low,high}"))),
    "slip": (("a1", "b2", "c3", "d4"), (("", "zzzzzz"), ("q", "rr"), ("s", "t"), ("uu", "v"))),
}  # fmt: skip

# Patient: account state, then consents to marketing: granted, withdrawn, expires, express, notice version.
_CONDITIONS: dict[int, tuple[str, tuple[tuple[str | None, str | None, str | None, str, str], ...]]] = {
    1: ("open", (("2024-01-01", None, None, "t", "2"),)),
    2: ("open", (("2023-01-01", "2023-06-01", None, "t", "2"), ("2024-01-01", None, "2999-01-01", "t", "3"))),
    3: ("paused", (("2024-01-01", None, None, "f", "2"),)),
    4: ("open", (("2024-01-01", "2999-01-01", None, "f", "2"),)),
    5: ("open", ()),
    6: ("open", (("2024-01-01", "2024-02-01", None, "t", "2"),)),
    7: ("open", (("2024-01-01", None, "2024-02-01", "t", "2"),)),
    8: ("closed", (("2024-01-01", None, None, "t", "2"),)),
    9: ("open", (("2024-01-01", None, None, "t", "1"),)),
    10: ("open", ((None, None, None, "t", "2"),)),
    11: ("open", (("2999-01-01", None, None, "t", "2"),)),
    12: ("held", (("2024-01-01", None, None, "t", "2"),)),
}

Cell = str | None


def literal(cell: Cell) -> str:
    return "NULL" if cell is None else "'" + cell.replace("'", "''") + "'"


def _insert(table: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    values = ",\n".join("(" + ", ".join(map(literal, row)) + ")" for row in rows)
    return f"INSERT INTO clinic.{table} ({', '.join(columns)}) VALUES {values};\n"


def _cell(entry: tuple[Sequence[object], Sequence[Pair]], index: int, side: int) -> Cell:
    """Of patient ``index`` + 1. A column whose visible cells are pairs is hidden in every row."""
    visible, hidden = entry
    pairs = hidden if hidden else visible
    if index < len(VISIBLE) and hidden:
        cell = visible[index]
    else:
        cell = pairs[(index - (len(VISIBLE) if hidden else 0)) % len(pairs)][side]  # type: ignore[index]  # a cell or a list of pairs
    return cell  # type: ignore[return-value]  # the same


def _registry(side: int) -> Iterator[str]:
    everybody = (*VISIBLE, *HIDDEN)
    wards = ("east", "west", "east", "north", "west", "east", "locked", "north", "east", "west", "south", "north")
    rows = [
        [str(n), wards[n - 1], f"2024-{n:02}-01", str(n % 4), *(_cell(e, n - 1, side) for e in _PATIENTS.values())]
        for n in everybody
    ]
    yield _insert("patients", ["id", "ward", "admitted", "beds", *_PATIENTS], rows)
    states: list[list[Cell]] = [[str(n), state] for n, (state, _) in _CONDITIONS.items()]
    yield _insert("accounts", ["patient_id", "state"], states)
    log = [[str(n), "marketing", *consent] for n, (_, consents) in _CONDITIONS.items() for consent in consents]
    columns = ["patient_id", "purpose", "granted_at", "withdrawn_at", "expires_at", "is_express", "notice"]
    yield _insert("agreement_log", columns, log)
    vitals = [[str(n), f"2025-01-{n:02}", *(_cell(e, n - 1, side) for e in _VITALS.values())] for n in everybody]
    reaches = [[str(n), _hidden(n, side, "[1,5)", ("[0,1)", "(,)") if n % 2 else ("empty", "[5,)"))] for n in everybody]
    yield _insert("reaches", ["patient_id", "reach"], reaches)
    yield _insert("vitals", ["patient_id", "taken", *_VITALS], vitals)


def _hidden(n: int, side: int, visible: str, pair: Pair) -> Cell:
    return visible if n in VISIBLE else pair[side]


def _family(side: int) -> Iterator[str]:
    """Partitions, children and whatever reaches its subject by another way."""
    stays, cases, contacts, abroad, persons, staff, births, letters, notes = ([] for _ in range(9))  # type: ignore[var-annotated]  # rows of nine tables
    for n in (*VISIBLE, *HIDDEN):
        key = str(n)
        for i, (day, kind) in enumerate((("2024-05-01", "day"), ("2025-05-01", "day"), ("2025-06-01", "night"))):
            finding = _hidden(n, side, f"clear {i}", (f"{n} found", f"{9 - n % 9} nothing much {i}"))
            stays.append([str(n * 10 + i), key, day, kind, finding, _hidden(n, side, f"{n}.50", (f"{n}0", f"{n}9.99"))])
        cases.append(
            [key, key, _hidden(n, side, "north", ("north", "south") if n % 2 else ("south", "west")), f"case {n}"]
        )
        phone = _hidden(n, side, f"1380000{n:04}", (f"139{n:02}114243", f"139999{n:02}4243"))
        (abroad if n % 3 == 0 else contacts).append([key, key, f"label {n}", phone, *(["fr"] if n % 3 == 0 else [])])
        # Of persons the address is open; of staff it is classified, also where it is read as that of persons.
        mail = _hidden(n, side, f"p{n}@ex.org", (f"q{n}1@ex.org", f"q{n}bcd@ex.org")) if n % 2 else f"p{n}@ex.org"
        pay = [_hidden(n, side, "100", (str(200 + n), str(299 - n)))] if n % 2 else []
        (staff if n % 2 else persons).append([key, key, "kind", phone, mail, *pay])
        mother = _hidden(n, side, f"Mother {n}", (f"M{n}", f"Mary Anne {n}"))
        born = _hidden(n, side, f"198{n % 10}-01-02", ("1970-01-01", f"1970-12-{n + 10}"))
        births.append([key, born, mother, key])
        body = _hidden(n, side, f"Dear {n}", (_LONG * (n % 3) + "end", "ok" + _LONG * (3 - n % 3)))
        letters.append(
            [key, key, "2026-01-01 00:00+00", _hidden(n, side, f"Re {n}", (f"bill {n}", f"debts {n * n}")), body]
        )
        ward = ("east", "locked")[n % 4 == 0]
        notes.append([key, key, ward, _hidden(n, side, f"note {n}", (f"secret {n}", f"none{n}"))])
    yield _insert("stays", ["id", "patient_id", "day", "kind", "finding", "cost"], stays)
    yield _insert("cases", ["id", "patient_id", "region", "note"], cases)
    yield _insert("contacts", ["id", "patient_id", "label", "phone"], contacts)
    yield _insert("contacts_abroad", ["id", "patient_id", "label", "phone", "country"], abroad)
    yield _insert("persons", ["id", "patient_id", "kind", "phone", "mail"], persons)
    yield _insert("staff", ["id", "patient_id", "kind", "phone", "mail", "pay"], staff)
    yield _insert("births", ["patient_id", "born", "mother", "hours"], births)
    yield _insert("letters", ["id", "patient_id", "sent", "subject", "body"], letters)
    yield _insert("notes", ["id", "patient_id", "ward", "body"], notes)


def _orders(side: int) -> Iterator[str]:
    everybody = (*VISIBLE, *HIDDEN)
    yield _insert("orders", ["id", "patient_id", "placed"], [[str(n), str(n), f"2025-02-{n:02}"] for n in everybody])
    items: list[list[Cell]] = [
        [str(n * 2 + i), str(n), _hidden(n, side, f"drug {i}", (f"drug {n}", f"x{n * 7}")), str(i + 1),
         _hidden(n, side, f"{n}.25", (f"{n}00.00", f"{n}99.99"))]
        for n in everybody for i in (0, 1)
    ]  # fmt: skip
    yield _insert("order_items", ["id", "order_id", "drug", "dose", "price"], items)
    illnesses: list[list[Cell]] = [[code, f"title of {code}"] for code in ("flu", "pox", "gout", "none")]
    yield _insert("illnesses", ["code", "title"], illnesses)
    ailments: list[list[Cell]] = [
        [str(n), str(n), _hidden(n, side, "flu", ("pox", "flu")), _hidden(n, side, "flu", ("flu", "gout"))]
        for n in everybody
    ]
    yield _insert("ailments", ["id", "patient_id", "illness", "later"], ailments)
    strays: list[list[Cell]] = [
        [str(n), "ab"[n % 2], (f"13{n}5550{n}77", f"13{n}999990{n}77")[side], ("1970-01-01", f"1970-0{n}-02")[side]]
        for n in range(1, 7)
    ]
    yield _insert("strays", ["id", "kind", "phone", "born"], strays)


_OPEN = """
INSERT INTO clinic.memos SELECT n, 'memo ' || n FROM generate_series(1, 12) n;
INSERT INTO clinic.wards VALUES
    ('east', 'Eastern ward', 12, '2001-05-06', 1.25, true, 1.5, '2001-05-06 07:08+00', '{a,b}', '{"a": 1}', 1),
    ('west', 'Western ward', 0, '1999-01-01', -2.5, false, 0, '1999-01-01 00:00+00', '{}', '[1, "x"]', 9223372036854775807),
    ('north', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    ('locked', 'Locked ward', 3, '2020-02-29', 100, true, -7.25, '2020-02-29 12:00+00', '{c,NULL}', '"s"', -5);
INSERT INTO clinic.guesses (word, day, amount, n, mood, token, flag) VALUES
    ('Ada Lovelace', '1970-01-01', 1000, 10, 'low', '00000000-0000-0000-0000-000000000000', true),
    ('A1', '1970-12-31', 1999.99, 19, 'high', 'ffffffff-ffff-ffff-ffff-ffffffffffff', false),
    ('A**', '1990-03-07', 1500.5, 0, 'mid', '11111111-1111-1111-1111-111111111111', NULL),
    ('[masked]', NULL, -1, NULL, NULL, NULL, true), ('10', '2000-01-01', 'NaN', 7, 'mid', NULL, false);
INSERT INTO clinic.scratch (word, n) VALUES ('a', 1), ('b', 2);
REFRESH MATERIALIZED VIEW clinic.patient_copy;
REFRESH MATERIALIZED VIEW clinic.patient_cards;
REFRESH MATERIALIZED VIEW clinic.patient_counts;
"""


def clinic(side: int) -> str:
    """SQL that fills the clinic's tables."""
    return "".join((*_registry(side), *_family(side), *_orders(side), _OPEN))
