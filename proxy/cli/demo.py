"""``consentry demo``: an embedded PostgreSQL with sample data, and consentry in front of it."""

from __future__ import annotations

from typing import Annotated

import typer

from proxy.cli import Code


def demo(
    tour: Annotated[bool, typer.Option("--tour", help="Play the scenes, show raw beside seen, and end.")] = False,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where consentry listens.")] = "127.0.0.1:0",
    subscribers: Annotated[int, typer.Option(min=20, help="How many people the sample data has.")] = 20_000,
    calls: Annotated[int, typer.Option(min=1000, help="How many calls they made.")] = 500_000,
) -> None:
    """Run consentry on sample data, with everything that it needs.

    Prints commands to paste and stays until Ctrl-C. With --tour it ends by itself, with 0 if every scene showed what
    it must.
    """
    try:
        from proxy.demo.demonstration import run_demo
        from proxy.demo.postgres import PostgresUnavailable
        from proxy.demo.servers import DemonstrationFailed
    except ModuleNotFoundError as error:
        typer.echo(f"consentry: the demonstration needs {error.name}: pip install 'consentry[demo]'", err=True)
        raise typer.Exit(Code.COULD_NOT_RUN) from error
    try:
        fine = run_demo(tour=tour, listen=listen, subscribers=subscribers, calls=calls)
    except (PostgresUnavailable, DemonstrationFailed) as error:
        typer.echo(f"consentry: {error}", err=True)
        raise typer.Exit(Code.COULD_NOT_RUN) from error
    raise typer.Exit(Code.FINE if fine else Code.COULD_NOT_RUN)
