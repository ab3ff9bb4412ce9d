"""``consentry audit``: what can be asked of an audit file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from proxy.audit.chain import Finding
from proxy.audit.chain import verify as find
from proxy.cli import Code
from proxy.cli.configuration import AUDIT_KEY

app = typer.Typer(help="Check an audit file.", rich_markup_mode=None)


@app.callback()
def _audit() -> None:
    """Check an audit file."""


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="The audit file.")],
    key: Annotated[
        Path | None, typer.Option(help=f"A file with the key of the hash chain; else {AUDIT_KEY}, else no key.")
    ] = None,
    output: Annotated[Literal["text", "json"], typer.Option(help="How findings are printed.")] = "text",
) -> None:
    """Check the hash chain: any line that was edited, deleted, inserted or moved is found, and the exit code is 2.

    A last line that a crash left incomplete is a warning.
    """
    try:
        secret = key.read_bytes().rstrip(b"\r\n") if key else os.environb.get(AUDIT_KEY.encode()) or None
        counted = _Counted(file)
        findings = list(find(counted, secret))
    except OSError as error:
        typer.echo(f"consentry: {error.filename}: {error.strerror}", err=True)
        raise typer.Exit(Code.COULD_NOT_RUN) from None
    if output == "json":
        typer.echo(json.dumps({"lines": counted.lines, "findings": [_as_json(finding) for finding in findings]}))
    else:
        for finding in findings:
            typer.echo(f"{file}:{finding.line}:1: {finding.severity}: {finding.code}: {finding.message}")
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(Code.DENIED)


class _Counted:
    """The lines of a file, counted as they are read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = 0

    def __iter__(self) -> Iterator[bytes]:
        with self.path.open("rb") as lines:
            for line in lines:
                self.lines += 1
                yield line


def _as_json(finding: Finding) -> dict[str, str | int]:
    return {
        "line": finding.line,
        "severity": finding.severity,
        "code": finding.code,
        "message": finding.message,
    }
