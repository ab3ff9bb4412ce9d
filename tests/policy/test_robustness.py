"""No file makes the loader fail: whatever is changed in a good policy, the answer is a policy or a diagnostic."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.policy.document import parse
from proxy.policy.loader import load
from tests.policy.test_cases import CASES

GOOD = [path for path in CASES if path.stem.startswith("good-")]

replacements = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(),
    st.sampled_from(
        ["", "*", "name", "any", "a.b", "public.calls", "180 days", "subscriber", "billing", "~text", "[key]"]
    ),
    st.just([]),
    st.just({}),
    st.lists(st.sampled_from(["name", "*", 1, None]), max_size=3),
    st.dictionaries(
        st.sampled_from(["id", "key", "kind", "mask", "partial", "public.x", "~mapping", ""]), st.just("x")
    ),
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(place for key, value in items for place in places(value, (*path, key)))]


def changed(root: Any, path: tuple[Any, ...], value: Any, *, remove: bool) -> Any:
    if not path:
        return value
    copy = json.loads(json.dumps(root))
    node = copy
    for step in path[:-1]:
        node = node[step]
    if remove:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return copy


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_change_gives_a_policy_or_a_diagnostic(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(GOOD))
    root = parse(path.read_text(encoding="utf-8")).root
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(places(root)))
        root = changed(root, place, data.draw(replacements), remove=data.draw(st.booleans()))
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "policy.yaml"
        base = path.parent / "base.yaml"
        (Path(folder) / base.name).write_bytes(base.read_bytes())
        target.write_text(json.dumps(root), encoding="utf-8")  # JSON is YAML
        loaded = load(target)
    assert (loaded.policy is None) == any(found.severity == "error" for found in loaded.diagnostics)
    assert all(found.line == 1 for found in loaded.report() if found.path == str(target))
