"""``consentry schema``: the JSON Schema of the policy file."""

from __future__ import annotations

import json

import typer

from proxy.policy.schema import json_schema


def schema() -> None:
    """Prints the JSON Schema (draft 2020-12) of the policy file, for editors and other tools."""
    typer.echo(json.dumps(json_schema(), ensure_ascii=False, indent=2))
