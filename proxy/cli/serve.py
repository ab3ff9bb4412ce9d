"""``consentry serve``: the proxy itself."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from proxy.cli import Code
from proxy.cli.configuration import CONFIG, ENVIRONMENT, InvalidConfiguration, load


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
    admin: Annotated[str | None, _option("admin", "Where metrics, health and a console are: HOST:PORT.")] = None,
    mode: Annotated[
        str | None, _option("mode", "enforce, or observe: change nothing and audit what would have been done.")
    ] = None,
    workers: Annotated[int | None, _option("workers", "How many processes serve.")] = None,
    watch: Annotated[
        bool | None,
        typer.Option("--watch", help="Reload the policy when its files change. [CONSENTRY_WATCH]", show_default=False),
    ] = None,
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
        "watch": watch,
    }
    # Only now: these bring the whole proxy with them, and `consentry --help` has no need of it.
    from proxy.cli import process, supervisor
    from proxy.cli.logs import log_to_stderr
    from proxy.cli.policy_files import PolicyFiles, report

    try:
        configuration = load(flags, os.environ)
    except InvalidConfiguration as invalid:
        report(invalid.diagnostics)
        raise typer.Exit(Code.INVALID) from None
    files = PolicyFiles(configuration.policy, configuration.policies, enforce=configuration.mode == "enforce")
    policies = files.read()
    if policies is None:
        raise typer.Exit(Code.INVALID)
    log_to_stderr()
    run = process.run if configuration.workers == 1 else supervisor.run
    raise typer.Exit(run(configuration, files, policies))
