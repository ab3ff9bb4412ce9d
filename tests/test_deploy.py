"""The examples in ``deploy/`` are valid: by the schemas of Compose and Kubernetes, by HAProxy, and by consentry."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import compose_spec
import kubernetes_validate
import pytest
import yaml

from proxy.cli.configuration_file import ConfigurationFile
from proxy.policy.loader import load

DEPLOY = Path(__file__).parent.parent / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
KUBERNETES = "1.32"
"""The oldest release whose schema they must meet: sidecars by restartPolicy are on by default in it."""


def documents(path: Path) -> Iterator[dict[str, Any]]:
    yield from yaml.safe_load_all(path.read_text())


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
    return loaded


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_kubernetes_manifests_meet_the_schema(path: Path) -> None:
    for document in documents(path):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_the_compose_file_meets_the_specification() -> None:
    """Merge keys are resolved by YAML first, as Compose does it."""
    plain = {key: value for key, value in compose().items() if not key.startswith("x-")}
    found = compose_spec.PyCompose.from_yaml(yaml.safe_dump(plain))
    found.validate()
    assert sorted(found.service_names()) == ["consentry-one", "consentry-two", "haproxy", "postgres"]


def test_every_file_that_the_compose_file_names_is_there() -> None:
    """But for the secrets: those are for whoever runs it to make."""
    files = [entry["file"] for entry in compose()["configs"].values()]
    files += [volume.split(":")[0] for volume in compose()["services"]["haproxy"]["volumes"]]
    assert [name for name in files if not (DEPLOY / "compose" / name).is_file()] == []


def configurations() -> Iterator[Any]:
    yield pytest.param((DEPLOY / "compose" / "consentry.yaml").read_text(), id="compose")
    for path in MANIFESTS:
        for document in documents(path):
            if document["kind"] == "ConfigMap":
                yield pytest.param(document["data"]["consentry.yaml"], id=path.stem)


@pytest.mark.parametrize("text", list(configurations()))
def test_the_configurations_are_valid(text: str) -> None:
    found = ConfigurationFile.model_validate(yaml.safe_load(text))
    assert (found.listen.port, found.audit.sinks) == (6432, ["-"])


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_the_policies_are_valid(path: Path, tmp_path: Path) -> None:
    [policy] = [document["data"]["policy.yaml"] for document in documents(path) if document["kind"] == "ConfigMap"]
    (tmp_path / "policy.yaml").write_text(policy)
    assert [str(line) for line in load(tmp_path / "policy.yaml").report()] == []


def test_haproxy_takes_its_configuration() -> None:
    haproxy = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if haproxy is None:
        pytest.skip("HAProxy is not installed (on Debian: apt-get install haproxy)")
    environment = {**os.environ, "LISTEN": "127.0.0.1:1", "REPLICA_ONE": "127.0.0.1:2", "REPLICA_TWO": "127.0.0.1:3"}
    command = [haproxy, "-c", "-f", str(DEPLOY / "compose" / "haproxy.cfg")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
