"""May a session begin? Judges a StartupMessage's parameters (protocol section 55.2.1) before anything is sent on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from proxy.engine.parameters import check_setting
from proxy.engine.refusals import denied, unsupported
from proxy.policy.model import Policy
from proxy.sql.effects import TRACKED

_WORD = re.compile(r"(?:\\.|[^ \t\n\r\f\v\\])+", re.DOTALL)
_TRUE = frozenset({"1", "on", "true", "yes", "t", "y"})
_OFF = frozenset({"0", "off", "false", "no", "f", "n", ""})


def check_startup(parameters: Mapping[str, str], policy: Policy) -> dict[str, str]:
    """The tracked settings that a StartupMessage declares, by lower-case name.

    Raises Refused: 0A000 for replication, 42501 for parameters that may not be set.
    """
    settings: dict[str, str] = {}
    for name, value in parameters.items():
        folded = name.lower()
        if folded in ("user", "database") or folded.startswith("_pq_."):
            continue
        if folded == "replication":
            if value.lower() not in _OFF:
                raise unsupported(
                    "replication connections are not available",
                    detail="A replication stream carries every value as it is stored.",
                    way_out="Connect to the server itself.",
                )
            continue
        pairs = options(value, policy) if folded == "options" else [(folded, value)]
        for setting, text in pairs:
            check_setting(setting, text, policy)
            if setting in TRACKED:
                settings[setting] = text
    return settings


def options(text: str, policy: Policy) -> Iterator[tuple[str, str]]:
    """The settings in a startup packet's ``options``: ``-c name=value``, ``--name=value`` (postgres.c, pg_split_opts).

    Raises Refused (42501) for any other switch.
    """
    words = [re.sub(r"\\(.)", r"\1", word, flags=re.DOTALL) for word in _WORD.findall(text)]
    rest = iter(words)
    for word in rest:
        if word == "-c":
            setting = next(rest, "")
        elif word.startswith(("-c", "--")):
            setting = word[2:]
        else:
            setting = ""
        name, equals, value = setting.partition("=")
        if not equals:
            raise denied(
                "the startup packet's options hold a switch other than -c name=value",
                way_out="Set parameters by -c name=value.",
                policy=policy,
            )
        yield name.replace("-", "_").lower(), value
