"""``consentry check``: is a policy file right?"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli import Code
from proxy.policy.diagnostic import Severity
from proxy.policy.loader import load


class Output(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"


def check(
    policy: Annotated[Path, typer.Argument(help="The policy file.", show_default=False)],
    output: Annotated[Output, typer.Option(help="text prints one line a finding, nothing when clean.")] = Output.TEXT,
) -> None:
    """Validates a policy file and everything it extends, and prints every mistake with its place.

    Ends with 0 where the policy can be used (warnings do not hinder), 3 where it cannot, 1 where it cannot be read.
    """
    loaded = load(policy)
    report = loaded.report()
    if output is Output.JSON:
        result = {"valid": loaded.policy is not None, "diagnostics": [found.as_dict() for found in report]}
        typer.echo(json.dumps(result, ensure_ascii=False, indent=2))
    else:
        for found in report:
            typer.echo(str(found))
    if loaded.policy is None:
        unreadable = all(found.code == "file" for found in report if found.severity is Severity.ERROR)
        raise typer.Exit(Code.COULD_NOT_RUN if unreadable else Code.INVALID)
