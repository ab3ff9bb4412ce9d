"""``consentry explain``: what would become of a statement, and why."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import typer

from proxy.catalog.catalogs import CatalogUnavailable
from proxy.cli import Code
from proxy.cli.check import Output
from proxy.cli.live import catalog_of
from proxy.engine import ConsentEngine
from proxy.engine.aliases import readable
from proxy.policy.loader import load
from proxy.policy.model import Policy
from proxy.verdict import ColumnUse, Context, Verdict


def explain(
    policy: Annotated[Path, typer.Argument(help="The policy file.", show_default=False)],
    sql: Annotated[str, typer.Argument(help="The statement.", show_default=False)],
    dsn: Annotated[str, typer.Option(help="The database: postgresql://USER@HOST:PORT/NAME.", show_default=False)],
    role: Annotated[str, typer.Option(help="The role that would send it.", show_default=False)],
    purpose: Annotated[str | None, typer.Option(help="The purpose it declares.", show_default=False)] = None,
    subject: Annotated[str | None, typer.Option(help="Whom a self purpose serves.", show_default=False)] = None,
    output: Annotated[Output, typer.Option(help="How the answer is printed.")] = Output.TEXT,
) -> None:
    """Says what would become of a statement: the verdict, each column with its decision, and the SQL that would run.

    Nothing is run. Ends with 0 where the statement would run, 2 where it is refused, 1 without a catalog, 3 for an
    invalid policy.
    """
    loaded = load(policy)
    if loaded.policy is None:
        for found in loaded.report():
            typer.echo(str(found), err=True)
        raise typer.Exit(Code.INVALID)
    try:
        verdict = asyncio.run(_decide(loaded.policy, dsn, role, purpose, subject, sql))
    except (OSError, asyncpg.PostgresError, CatalogUnavailable) as error:
        typer.echo(f"consentry: the catalog of {dsn.rpartition('@')[2]} cannot be read: {error}", err=True)
        raise typer.Exit(Code.COULD_NOT_RUN) from None
    typer.echo(json.dumps(_told(verdict), ensure_ascii=False, indent=2) if output is Output.JSON else _text(verdict))
    if verdict.refusal is not None:
        raise typer.Exit(Code.DENIED)


async def _decide(policy: Policy, dsn: str, role: str, purpose: str | None, subject: str | None, sql: str) -> Verdict:
    catalog, search_path = await catalog_of(dsn)
    declared = {"consentry.purpose": purpose, "consentry.subject": subject, "search_path": search_path}
    settings = {name: value for name, value in declared.items() if value is not None}
    context = Context(
        database=catalog.database,
        role=role,
        current_role=role,
        settings=settings,
        purpose_source=None if purpose is None else "setting",
        catalog=catalog,
        policy=policy,
        start=settings,
    )
    return ConsentEngine().decisions(context).authorize(sql.encode())


def _told(verdict: Verdict) -> dict[str, Any]:
    refusal = verdict.refusal
    return {
        "verdict": _kind(verdict),
        "purpose": verdict.statements[0].purpose if verdict.statements else None,
        "columns": [
            {
                "column": use.column,
                "category": use.category,
                "sensitivity": use.sensitivity,
                "use": use.use,
                "decision": use.decision,
                "reasons": list(use.reasons),
                "rule": use.rule,
            }
            for use in _columns(verdict)
        ],
        "refusal": None
        if refusal is None
        else {
            "sqlstate": refusal.sqlstate,
            "message": refusal.message,
            "detail": refusal.detail,
            "hint": refusal.hint,
        },
        "sql": None if refusal is not None else readable(verdict.text.decode()),
    }


def _kind(verdict: Verdict) -> str:
    kinds = [statement.kind for statement in verdict.statements]
    return next((kind for kind in ("reject", "mask", "allow") if kind in kinds), "pass")


def _columns(verdict: Verdict) -> list[ColumnUse]:
    return [use for statement in verdict.statements for use in statement.columns]


def _text(verdict: Verdict) -> str:
    purpose = verdict.statements[0].purpose if verdict.statements else None
    lines = [f"verdict: {_kind(verdict)}", f"purpose: {purpose or 'none'}"]
    for use in _columns(verdict):
        reasons = f", by {', '.join(use.reasons)}" if use.reasons else ""
        rule = f", rule {use.rule}" if use.rule else ""
        lines.append(f"  {use.use} {use.column} ({use.category}, {use.sensitivity}): {use.decision}{reasons}{rule}")
    if verdict.refusal is not None:
        refusal = verdict.refusal
        lines.append(f"refused: {refusal.sqlstate} {refusal.message}")
        lines += [f"  {text}" for text in (refusal.detail, refusal.hint) if text]
    elif verdict.rewritten:
        lines += ["runs:", readable(verdict.text.decode())]
    else:
        lines.append("runs as it is")
    return "\n".join(lines)
