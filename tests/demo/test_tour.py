"""The tour shows what it must, and fails where a proxy does not do its work."""

from __future__ import annotations

import io
import subprocess

import psycopg
import pytest
from rich.console import Console

from proxy.demo.commands import commands
from proxy.demo.scenes import SCENES, Scene
from proxy.demo.servers import Servers
from proxy.demo.stage import SceneFailed, Stage
from tests.fix_postgres import Database


@pytest.fixture
def unprotected(telecom: Database) -> Servers:
    """Servers whose proxy does nothing at all: its address is the database's own."""
    servers = Servers(Console(file=io.StringIO()), subscribers=0, calls=0)
    servers.postgres = telecom.postgres
    servers.host, servers.port, servers.database = telecom.postgres.host, telecom.postgres.port, telecom.name
    return servers


@pytest.mark.parametrize(
    "scene", [scene for scene in SCENES if scene.title != "Unclassified tables"], ids=lambda s: s.title
)
def test_every_scene_fails_without_protection(unprotected: Servers, scene: Scene) -> None:
    with psycopg.connect(unprotected.direct_dsn(), autocommit=True) as database:
        stage = Stage(unprotected, unprotected.console, "tour", database)
        with pytest.raises(SceneFailed):
            scene.play(stage)


def test_scenes_leave_the_database_as_it_was(telecom: Database) -> None:
    assert telecom.execute("SELECT withdrawn_at FROM consents WHERE subscriber_id = 2 AND purpose = 'marketing'") == [
        (None,)
    ]


def test_what_is_printed_can_be_pasted(unprotected: Servers) -> None:
    for title, command in commands(unprotected):
        if not title.startswith("withdraw"):
            pasted = subprocess.run(command, shell=True, input="", capture_output=True, text=True, check=False)  # noqa: S602 - it is what a user's shell would get
            assert (pasted.returncode, pasted.stderr) == (0, ""), title
