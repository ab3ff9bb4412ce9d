"""The command ``consentry``: one file a command, imported only when that command runs (or help is asked for).

A command ``x`` is the module ``proxy.cli.x``. It holds a function ``x``, whose annotations are its options and whose
docstring is its help, or a ``typer.Typer`` called ``app`` where it has commands of its own. It ends with
``typer.Exit(code)``, where the code is one of :class:`Code`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import IntEnum
from importlib import import_module
from importlib.util import find_spec

import typer

COMMANDS = ("serve", "demo", "check", "explain", "schema", "audit")


class Code(IntEnum):
    """What the process says when it ends. A mistyped command line is an invalid configuration."""

    FINE = 0
    COULD_NOT_RUN = 1
    DENIED = 2
    INVALID = 3


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and ends the process."""
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        outcome = application(arguments[0])(arguments, prog_name="consentry", standalone_mode=False)
    except typer.TyperException as error:
        # A usage error; typer's own code for it, 2, would say "denied".
        typer.echo(f"consentry: {error.format_message()} Try 'consentry --help'.", err=True)
        outcome = Code.INVALID
    except typer.Abort:
        outcome = Code.COULD_NOT_RUN
    sys.exit(outcome)


def application(command: str) -> typer.Typer:
    """The command line with ``command``, or with every command where there is none of this name."""
    app = typer.Typer(
        help="A PostgreSQL proxy that keeps personal information within what people agreed to.",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    @app.callback()
    def _group() -> None:
        """With one command only, typer would take its name for an argument."""

    for name in (command,) if command in COMMANDS else COMMANDS:
        if find_spec(f"proxy.cli.{name}") is None:
            continue
        module = import_module(f"proxy.cli.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command(name)(getattr(module, name))
    return app
