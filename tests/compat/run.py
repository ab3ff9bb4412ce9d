"""One suite over one route: what came of each of its tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import psycopg

from bench.routes import Route, running
from proxy.demo.postgres import HOST, EmbeddedPostgres
from tests.compat.sources import environment, source
from tests.compat.suites import DATABASE, Suite, Target

Outcome = Literal["passed", "failed", "skipped"]
RUN_SECONDS = 3600

POLICY = """
version: 1
name: compat
roles: {'*': {purposes: [], ddl: true, code: true}}
purposes: {none: {basis: contract, categories: ['*'], accounts: any}}
"""
"""Concerns no table. The suites make functions and run code, as whoever develops a driver does."""


def outcomes(suite: Suite, postgres: EmbeddedPostgres, route: Route, folder: Path) -> dict[str, Outcome]:
    """Test -> what came of it. Raises Unavailable where the suite cannot be had."""
    python = environment(suite.source.partition("==")[0], suite.requirements)
    place = source(suite.source, suite.fetch) / suite.folder
    if suite.apart:
        apart = folder / f"{suite.name}-{route.name}"
        shutil.copytree(place / suite.apart, apart / suite.apart)
        place = apart
    target = Target(HOST, route.port, folder / f"{suite.name}-{route.name}.xml")
    _fresh(suite, postgres)
    if suite.prepare is not None:
        suite.prepare(place, target)
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PYTEST", "CONSENTRY_"))}
    with (folder / f"{suite.name}-{route.name}.log").open("wb") as log:
        subprocess.run(
            [str(python), *suite.command(target)],
            cwd=place,
            env={**plain, **suite.environment(target)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=RUN_SECONDS,
            check=False,
        )
    return read(target.results)


def _fresh(suite: Suite, postgres: EmbeddedPostgres) -> None:
    """Databases as no run before has left them."""
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        for name in (DATABASE, *suite.databases, *(f"test_{name}" for name in suite.databases)):
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        for name in (DATABASE, *suite.databases):
            connection.execute(f"CREATE DATABASE {name}")
    with psycopg.connect(postgres.dsn(database=DATABASE), autocommit=True) as connection:
        if suite.setup:
            connection.execute(suite.setup.encode())
        for name in suite.extensions:
            if connection.execute("SELECT FROM pg_available_extensions WHERE name = %s", [name]).rowcount:
                connection.execute(f"CREATE EXTENSION {name}".encode())


def read(results: Path) -> dict[str, Outcome]:
    """What JUnit's XML says of each test; empty where the run did not get that far."""
    found: dict[str, Outcome] = {}
    if not results.is_file():
        return found
    for case in ElementTree.parse(results).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        kinds = {child.tag for child in case}
        outcome: Outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        if found.get(name) != "failed":
            found[name] = outcome
    return found


@contextmanager
def through(postgres: EmbeddedPostgres, folder: Path) -> Iterator[Route]:
    """A consentry before ``postgres``, under a policy that concerns nothing."""
    policy, log = folder / "policy.yaml", folder / "consentry.log"
    policy.write_text(POLICY)
    command = [
        *(sys.executable, "-m", "proxy", "serve", "--listen", f"{HOST}:0", "--upstream", postgres.dsn()),
        *("--policy", str(policy), "--audit", "/dev/null"),
    ]
    with running(command, log) as process:
        while "consentry ready on " not in (said := log.read_text()):
            if process.poll() is not None:
                raise RuntimeError(said)
            time.sleep(0.05)
        address = said.partition("consentry ready on ")[2].split()[0]
        yield Route("consentry", int(address.rpartition(":")[2]), process.pid)
