"""YAML text -> plain values that know where they stand. Pure.

Reads parser events instead of letting a constructor build objects, so nothing in a file can name a Python type, every
problem is reported instead of the first, and aliases cannot multiply beyond a bound. Scalars follow the core schema of
YAML 1.2: ``on``, ``no`` and ``1:30`` are text; dates stay text and are read by the keys that take them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from proxy.policy.diagnostic import Position

MAX_DEPTH = 40
MAX_NODES = 200_000

_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


class Map(dict[str, Any]):
    """A mapping with the positions of its keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.here = Position()
        self.key_at: dict[str, Position] = {}
        self.value_at: dict[str, Position] = {}


class Seq(list[Any]):
    """A sequence with the positions of its items."""

    def __init__(self) -> None:
        super().__init__()
        self.here = Position()
        self.item_at: list[Position] = []


Problem = tuple[Position, str, str]
"""(where, code, message)"""


@dataclass(slots=True)
class Document:
    """One YAML document. ``root`` is None where the text could not be read at all."""

    root: Any = None
    here: Position = field(default_factory=Position)
    problems: list[Problem] = field(default_factory=list)


def locate(root: Any, path: Sequence[str | int], *, key: bool = False) -> Position:
    """Where the value at ``path`` stands (its key, with ``key``); of what is absent, the innermost that is there."""
    node, position = root, root.here if isinstance(root, Map | Seq) else Position()
    for index, step in enumerate(path):
        if isinstance(node, Map) and isinstance(step, str) and step in node:
            last = index == len(path) - 1
            position = node.key_at[step] if last and key else node.value_at[step]
            node = node[step]
        elif isinstance(node, Seq) and isinstance(step, int) and step < len(node):
            position, node = node.item_at[step], node[step]
        else:
            break
    return position


def parse(text: str) -> Document:
    """Reads one YAML document; what is wrong with it is in ``problems``."""
    document = Document()
    try:
        # The pure loader: its marks count characters, libyaml's do not after wide ones.
        events = _events(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - (text.rfind("\n", 0, error.position) + 1) + 1
        document.problems.append(
            (Position(line, column), "syntax", f"a character that YAML does not allow: {error.reason}")
        )
        return document
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(part for part in (error.context, error.problem) if part)
        document.problems.append((_position(mark), "syntax", said))
        return document
    except _TooMuch as error:
        document.problems.append((error.position, "limit", str(error)))
        return document
    _Builder(document).build(events)
    return document


def _events(text: str) -> list[yaml.Event]:
    """The parser's events; stops where the nesting is too deep, before the scanner has to remember it all."""
    events, depth = [], 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _TooMuch(f"nested more than {MAX_DEPTH} deep", _position(event.start_mark))
        events.append(event)
    return events


def _position(mark: Any) -> Position:
    return Position() if mark is None else Position(mark.line + 1, mark.column + 1)


def _scalar(event: yaml.ScalarEvent) -> str | int | float | bool | None:
    text = event.value
    if not event.implicit[0]:
        return str(text)
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return str(text)


class _TooMuch(Exception):
    """The document is beyond what a policy can need."""

    def __init__(self, message: str, position: Position) -> None:
        super().__init__(message)
        self.position = position


class _Builder:
    """Builds values out of parser events; ``size`` counts nodes with aliases expanded, as later rooms walk them."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.size = 0

    def build(self, events: list[yaml.Event]) -> None:
        starts = [event for event in events if isinstance(event, yaml.DocumentStartEvent)]
        if len(starts) > 1:
            self.problem(
                _position(starts[1].start_mark), "yaml", "a policy is one YAML document; this file has several"
            )
        nodes = iter(event for event in events if isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent))
        self.next: Callable[[], yaml.Event] = nodes.__next__
        first = next(nodes, None)
        if first is None:
            return
        self.document.here = _position(first.start_mark)
        try:
            self.document.root = self.value(first)
        except _TooMuch as error:
            self.document.root = None
            self.problem(error.position, "limit", str(error))

    def problem(self, position: Position, code: str, message: str) -> None:
        self.document.problems.append((position, code, message))

    def value(self, event: yaml.Event) -> Any:
        position = _position(event.start_mark)
        before = self.size
        self.count(1, position)
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, position)
        tag = getattr(event, "tag", None)
        if tag not in (None, "!"):
            self.problem(position, "yaml", f"tags such as {tag} are not used here")
        value: Any
        if isinstance(event, yaml.MappingStartEvent):
            value = self.mapping(position)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self.sequence(position)
        else:
            value = self.scalar(event, position)
        anchor = getattr(event, "anchor", None)
        if anchor is not None:
            self.anchors[anchor] = (value, self.size - before)
        return value

    def scalar(self, event: yaml.Event, position: Position) -> str | int | float | bool | None:
        if not isinstance(event, yaml.ScalarEvent):
            raise TypeError(f"no node of YAML begins with {event}")
        if _UNSTORABLE.search(event.value):
            self.problem(position, "yaml", "PostgreSQL cannot hold text with NUL or half a surrogate pair")
        return _scalar(event)

    def count(self, nodes: int, position: Position) -> None:
        self.size += nodes
        if self.size > MAX_NODES:
            raise _TooMuch(f"more than {MAX_NODES} values, aliases counted as often as they are used", position)

    def alias(self, event: yaml.AliasEvent, position: Position) -> Any:
        # An anchor is known once its value is complete, so a value cannot hold itself.
        if event.anchor not in self.anchors:
            self.problem(position, "yaml", f"no value before this one is anchored as &{event.anchor}")
            return None
        value, size = self.anchors[event.anchor]
        self.count(size, position)
        return value

    def mapping(self, position: Position) -> Map:
        result = Map()
        result.here = position
        while not isinstance(event := self.next(), yaml.MappingEndEvent):
            key_position = _position(event.start_mark)
            plain = isinstance(event, yaml.ScalarEvent) and event.implicit[0]
            key = self.value(event)
            value_event = self.next()
            value_position = _position(value_event.start_mark)
            value = self.value(value_event)
            if key == "<<" and plain:
                self.problem(key_position, "yaml", "merge keys (<<) are not used here")
                continue
            if isinstance(event, yaml.ScalarEvent) and isinstance(key, str | int) and not isinstance(key, bool):
                key = event.value
            if not isinstance(key, str):
                self.problem(key_position, "yaml", "a key must be text")
                continue
            if key in result:
                first = result.key_at[key].line
                self.problem(key_position, "duplicate-key", f"'{key}' already stands in line {first}")
                continue
            result[key] = value
            result.key_at[key] = key_position
            result.value_at[key] = value_position
        return result

    def sequence(self, position: Position) -> Seq:
        result = Seq()
        result.here = position
        while not isinstance(event := self.next(), yaml.SequenceEndEvent):
            result.item_at.append(_position(event.start_mark))
            result.append(self.value(event))
        return result
