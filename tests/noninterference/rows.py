"""The rows of the two databases: visible cells are equal, hidden ones differ and have equal masks."""

from __future__ import annotations

COLUMNS = "n int, name text, phone text, id_number text, birth date, address text, email text, account text, status text, plan text, hash text"  # fmt: skip

_VISIBLE = [
    (1, "王小明", "13800000001", "110101199003070011", "1990-03-07", "北京市朝阳区建国路88号1001室", "wang@example.com", "6001000100010001", "active", "basic"),
    (2, "李雷", "13800000002", "110101198811120022", "1988-11-12", "北京市海淀区中关村大街1号", "lilei@example.com", "6001000100010002", "active", "plus"),
    (6, "赵六", None, None, None, None, None, None, "active", None),
]  # fmt: skip

# For each subscriber that marketing may not see: the cells of one database, then those of the other.
_Cells = tuple[str, str, str, str, str, str, str]
_HIDDEN: list[tuple[int, _Cells, _Cells, str, str]] = [
    (3,
     ("张三丰", "13811114243", "310101197001010033", "1970-05-05", "上海市浦东新区世纪大道100号", "dan@example.com", "6222000000004444"),
     ("张无", "1389999999994243", "399999999999999993", "1970-01-09", "上海市浦东新区陆家嘴环路9号", "dora.long@example.com", "6222999999994444"),
     "active", "basic"),
    (4,
     ("陈一", "13911112222", "440101196512310044", "1965-12-31", "广州市天河区体育西路1号", "chen@example.com", "6333000000005555"),
     ("陈二三四", "13955552222", "444444444444444444", "1965-02-28", "广州市天河区珠江新城2号", "cai@example.com", "6333999999995555"),
     "active", "plus"),
    (5,
     ("刘备", "13722223333", "510101199912120055", "1999-12-12", "成都市武侯区天府大道10号", "liu@example.com", "6444000000006666"),
     ("刘禅禅", "13733333333", "555555555555555555", "1999-11-11", "成都市武侯区锦城大道99号", "lu@example.com", "6444999999996666"),
     "closed", "max"),
]  # fmt: skip


def hidden_values(side: int) -> frozenset[str]:
    """Every hidden cell of one database (0 or 1), but for the guess in `numbers`: none may ever be shown."""
    return frozenset(cell for row in _HIDDEN for cell in (row[1], row[2])[side]) - {"13911112222"}


def insert(side: int) -> str:
    """SQL that makes the table ``hidden``, from which the schema is filled."""
    rows = [(*row, "$2b$12$visible-hash-" + str(side)) for row in _VISIBLE]
    for number, *sides, status, plan in _HIDDEN:
        rows.append((number, *sides[side], status, plan, f"$2b$12$hidden-{side}-{number}"))
    values = ", ".join("(" + ", ".join(_literal(cell) for cell in row) + ")" for row in sorted(rows))
    imei = ("490154203237518", "3")[side]
    return f"SET rig.imei = '{imei}'; CREATE TABLE hidden ({COLUMNS}); INSERT INTO hidden VALUES {values};"


def _literal(cell: object) -> str:
    return "NULL" if cell is None else "'" + str(cell).replace("'", "''") + "'"
