"""The demonstration: both servers with sample data, and either the tour or commands to paste until Ctrl-C."""

from __future__ import annotations

import signal

from rich.console import Console
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from proxy.demo.commands import commands
from proxy.demo.servers import Servers
from proxy.demo.tour import run_tour

MIN_WIDTH = 118


class Interrupted(BaseException):
    """SIGTERM or SIGHUP: end as Ctrl-C does, so that no server is left behind."""


def run_demo(*, tour: bool, listen: str, subscribers: int, calls: int) -> bool:
    """Runs the demonstration; True if all went well. Raises what kept the servers from starting."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(console.width, MIN_WIDTH))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        with Servers(console, listen=listen, subscribers=subscribers, calls=calls) as servers:
            return run_tour(servers, console) if tour else _stay(servers, console)
    except (KeyboardInterrupt, Interrupted):
        console.print("stopped")
        return not tour


def _interrupt(*_: object) -> None:
    raise Interrupted


def _stay(servers: Servers, console: Console) -> bool:
    """Prints what to paste and stays until the end of consentry or Ctrl-C."""
    console.print(Rule("consentry is running", style="dim"))
    for title, command in commands(servers):
        # Without wrapping, so that a line can be copied as it is.
        console.print(Text(f"# {title}", "dim"))
        console.print(Text(command), soft_wrap=True)
        console.print()
    console.print(
        Panel(f"audit: {servers.audit}\nCtrl-C ends it all", border_style="dim", expand=False), soft_wrap=True
    )
    code = servers.wait()
    console.print(Text(f"consentry has ended with {code}:\n{servers.log}", "bold red"))
    return False
