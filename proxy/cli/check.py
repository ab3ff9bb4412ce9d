"""``consentry check``: is a policy file right?"""

from __future__ import annotations

import asyncio
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import asyncpg
import typer

from proxy.catalog.announcement import EVENT_TRIGGER
from proxy.cli import Code
from proxy.cli.surroundings import surroundings_of
from proxy.policy.diagnostic import Severity
from proxy.policy.loader import load
from proxy.policy.model import Policy
from proxy.policy.survey import survey
from proxy.policy.verify import Finding, verify


class Output(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"


def check(
    policy: Annotated[Path | None, typer.Argument(help="The policy file.", show_default=False)] = None,
    dsn: Annotated[
        str | None, typer.Option(help="A database to hold the policy against: postgresql://USER@HOST/NAME.")
    ] = None,
    print_trigger: Annotated[
        bool, typer.Option("--print-trigger", help="Print an event trigger that announces schema changes at once.")
    ] = False,
    output: Annotated[Output, typer.Option(help="text prints one line a finding, nothing when clean.")] = Output.TEXT,
) -> None:
    """Validates a policy file and everything it extends, and prints every mistake with its place.

    With a database, also whether it has the tables and columns, and whether the masks fit; and what its administrator
    should look at: keys without an index, privileges that roles lack, copies and columns that nobody classified. Ends
    with 0 where the policy can be used (warnings do not hinder), 3 where it cannot, 1 where it or the database cannot
    be read.
    """
    if print_trigger:
        typer.echo(EVENT_TRIGGER, nl=False)
    if policy is None:
        if print_trigger:
            return
        raise typer.BadParameter("a policy file is missing", param_hint="POLICY")
    loaded = load(policy)
    report = loaded.report()
    findings = () if loaded.policy is None or dsn is None else loaded.placed(_against(loaded.policy, dsn))
    invalid = loaded.policy is None or any(found.severity is Severity.ERROR for found in findings)
    if output is Output.JSON:
        told = [found.as_dict() for found in (*report, *findings)]
        typer.echo(json.dumps({"valid": not invalid, "diagnostics": told}, ensure_ascii=False, indent=2))
    else:
        for found in (*report, *findings):
            typer.echo(str(found))
    if loaded.policy is None:
        unreadable = all(found.code == "file" for found in report if found.severity is Severity.ERROR)
        raise typer.Exit(Code.COULD_NOT_RUN if unreadable else Code.INVALID)
    if invalid:
        raise typer.Exit(Code.INVALID)


def _against(policy: Policy, dsn: str) -> list[Finding]:
    """What the live catalog says against the policy. Without the catalog the process ends with 1."""
    from proxy.catalog.catalogs import CatalogUnavailable
    from proxy.cli.live import catalog_of
    from proxy.engine.untrusted_code import untrusted_code

    try:
        catalog = asyncio.run(catalog_of(dsn))[0]
        surveyed = survey(policy, catalog, asyncio.run(surroundings_of(dsn, policy)))
        return [*verify(policy, catalog), *untrusted_code(policy, catalog), *surveyed]
    except (OSError, asyncpg.PostgresError, CatalogUnavailable) as error:
        typer.echo(f"consentry: the catalog of {dsn.rpartition('@')[2]} cannot be read: {error}", err=True)
        raise typer.Exit(Code.COULD_NOT_RUN) from None
