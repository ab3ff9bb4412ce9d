"""``consentry serve``: the proxy itself."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from proxy.cli import Code
from proxy.cli.configuration import CONFIG, ENVIRONMENT, InvalidConfiguration, load
from proxy.policy.diagnostic import Diagnostic, Severity
from proxy.policy.loader import load as load_policy
from proxy.policy.model import Policy


def _option(key: str, text: str) -> Any:
    return typer.Option(help=f"{text} [{ENVIRONMENT[key]}]", show_default=False)


def serve(
    config: Annotated[
        str | None, typer.Option(metavar="FILE", help=f"The configuration file. [{CONFIG}]", show_default=False)
    ] = None,
    listen: Annotated[str | None, _option("listen", "Where clients connect: HOST:PORT, port 0 for any.")] = None,
    upstream: Annotated[str | None, _option("upstream", "The PostgreSQL server: postgresql://HOST:PORT.")] = None,
    policy: Annotated[str | None, _option("policy", "The policy file.")] = None,
    audit: Annotated[str | None, _option("audit", "The file of the audit; - is standard output.")] = None,
    admin: Annotated[str | None, _option("admin", "Not available in this version.")] = None,
    mode: Annotated[str | None, _option("mode", "enforce.")] = None,
    workers: Annotated[int | None, _option("workers", "1.")] = None,
) -> None:
    """Run the proxy until SIGTERM or Ctrl-C. SIGHUP reads the policy again.

    Options win over the environment, which wins over the configuration file.
    """
    flags = {
        "config": config,
        "listen": listen,
        "upstream": upstream,
        "policy": policy,
        "audit": audit,
        "admin": admin,
        "mode": mode,
        "workers": workers,
    }
    # Only now: these bring the whole proxy with them, and `consentry --help` has no need of it.
    from proxy.cli.logs import log_to_stderr
    from proxy.cli.service import run

    try:
        configuration = load(flags, os.environ)
    except InvalidConfiguration as invalid:
        _report(invalid.diagnostics)
        raise typer.Exit(Code.INVALID) from None
    in_force = read_policy(configuration.policy)
    if in_force is None:
        raise typer.Exit(Code.INVALID)
    log_to_stderr()
    raise typer.Exit(run(configuration, in_force, lambda: read_policy(configuration.policy)))


def read_policy(path: Path) -> Policy | None:
    """The policy, or None if it may not be enforced; what is wrong with it goes to standard error.

    A key that nothing enforces yet is an error here: to serve such a policy would promise what nobody keeps.
    """
    loaded = load_policy(path)
    found = loaded.report(enforce=True)
    _report(found)
    return None if any(one.severity is Severity.ERROR for one in found) else loaded.policy


def _report(found: Iterable[Diagnostic]) -> None:
    for diagnostic in found:
        typer.echo(str(diagnostic), err=True)
