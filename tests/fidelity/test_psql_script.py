"""What the reader of psql scripts makes of them."""

from __future__ import annotations

import pytest

from tests.fidelity.psql_script import Meta, Script, Statement, interpolate


def read(text: str) -> list[tuple[str, str]]:
    """Each item: a statement with what sends it, or a backslash command with its arguments."""
    script, found = Script(text), []
    while (item := script.next()) is not None:
        if isinstance(item, Statement):
            found.append((item.text, item.sent_by))
        else:
            assert isinstance(item, Meta)
            found.append((f"\\{item.name}", item.arguments.strip()))
    return found


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("SELECT 1; SELECT 2", [("SELECT 1", ";"), ("SELECT 2", ";")]),
        ("SELECT ';' AS \";\"; -- ;\nSELECT 2;", [("SELECT ';' AS \";\"", ";"), ("-- ;\nSELECT 2", ";")]),
        ("SELECT E'\\';' || '\\';", [("SELECT E'\\';' || '\\'", ";")]),
        ("DO $a$ ; $$ ; $a$; SELECT 1;", [("DO $a$ ; $$ ; $a$", ";"), ("SELECT 1", ";")]),
        ("/* ; /* ; */ ; */ SELECT 1;", [("/* ; /* ; */ ; */ SELECT 1", ";")]),
        ("CREATE RULE r AS DO (a; b); c;", [("CREATE RULE r AS DO (a; b)", ";"), ("c", ";")]),
        (
            "CREATE FUNCTION f() BEGIN ATOMIC SELECT CASE WHEN a THEN b END; c; END; d;",
            [("CREATE FUNCTION f() BEGIN ATOMIC SELECT CASE WHEN a THEN b END; c; END", ";"), ("d", ";")],
        ),
        ("BEGIN; SELECT 1; END;", [("BEGIN", ";"), ("SELECT 1", ";"), ("END", ";")]),
        ("SELECT 1 \\; SELECT 2;", [("SELECT 1 ; SELECT 2", ";")]),
        ("SELECT 1 AS x \\gset p_\n\\set a 'b c'\n", [("SELECT 1 AS x", "gset"), ("\\set", "a 'b c'")]),
        ("\\echo :x;\nSELECT 1;", [("\\echo", ":x;"), ("SELECT 1", ";")]),
        (";;", []),
    ],
)
def test_statements_and_commands(text: str, items: list[tuple[str, str]]) -> None:
    assert read(text) == items


def test_data_of_copy_is_taken_only_where_the_server_asks_for_it() -> None:
    script = Script("COPY t FROM stdin;\n1\t'\n2\t;\n\\.\nSELECT 1;")
    copy = script.next()
    assert isinstance(copy, Statement) and copy.text == "COPY t FROM stdin"
    assert script.data() == ["1\t'", "2\t;"]
    after = script.next()
    assert isinstance(after, Statement) and (after.text, after.line) == ("SELECT 1", 5)


def test_variables() -> None:
    variables = {"a": "x'y", "n": "7"}
    assert interpolate("SELECT :n, :'a', :\"a\", :b, b[1:n], ':n', 1::n, :{?a}, :{?b}", variables) == (
        "SELECT 7, 'x''y', \"x'y\", :b, b[17], ':n', 1::n, TRUE, FALSE"
    )
