"""Sources of clients with their tests: fetched once, kept beside, never committed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

FETCH_SECONDS = 600


class Unavailable(Exception):
    """A suite that cannot be had or run here; says why."""


def cache() -> Path:
    """Where sources and environments are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "consentry-compat"


Fetch = Callable[[str, Path], Path]
"""Puts the source of ``name==version`` into an empty folder, and gives the folder of it that is the source itself.
Raises Unavailable."""


def source(requirement: str, fetch: Fetch) -> Path:
    """The folder of the source of ``name==version``, fetched if it is not there yet. Raises Unavailable."""
    folder = cache() / requirement.replace("==", "-").replace("/", "-")
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as place:
            fetch(requirement, Path(place)).rename(folder)
    return folder


def from_index(requirement: str, place: Path) -> Path:
    """The source distribution of the Python package index."""
    name = requirement.partition("==")[0]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name, requirement]
    _run([*command, "--dest", str(place)], f"the source of {requirement}")
    [archive] = place.glob("*.tar.gz")
    return _unpacked(archive, place)


def from_archive(url: str) -> Fetch:
    """A published archive; ``{version}`` in its address is the version's."""

    def fetch(requirement: str, place: Path) -> Path:
        address = url.format(version=requirement.partition("==")[2])
        archive = place / "source.tar.gz"
        try:
            with urllib.request.urlopen(address, timeout=60) as answer, archive.open("wb") as file:
                shutil.copyfileobj(answer, file)
        except OSError as error:
            raise Unavailable(f"{address}: {error}") from None
        return _unpacked(archive, place)

    return fetch


def from_go(module: str) -> Fetch:
    """The module of the Go proxy, which carries its tests."""

    def fetch(requirement: str, place: Path) -> Path:
        require("go")
        command = ["go", "mod", "download", "-json", f"{module}@v{requirement.partition('==')[2]}"]
        told = json.loads(_run(command, f"the source of {requirement}"))
        copy = place / "module"
        shutil.copytree(told["Dir"], copy)
        for path in (copy, *copy.rglob("*")):
            path.chmod(path.stat().st_mode | 0o200)  # the module cache is read-only
        return copy

    return fetch


def from_maven(artifact: str) -> Fetch:
    """The jar of Maven's central repository."""

    def fetch(requirement: str, place: Path) -> Path:
        require("java", "javac", "mvn")
        copy = place / "jar"
        plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
        version = requirement.partition("==")[2]
        command = ["mvn", "-q", "-B", plugin, f"-Dartifact={artifact}:{version}", f"-DoutputDirectory={copy}"]
        _run(command, f"the jar of {requirement}")
        return copy

    return fetch


def nothing(_requirement: str, place: Path) -> Path:
    """An empty folder: the programs are the machine's."""
    folder = place / "nothing"
    folder.mkdir()
    return folder


def require(*programs: str) -> None:
    """Raises Unavailable where one of them is not there."""
    for program in programs:
        if shutil.which(program) is None:
            raise Unavailable(f"{program} is not installed")


def _unpacked(archive: Path, place: Path) -> Path:
    unpacked = place / "unpacked"
    with tarfile.open(archive) as contents:
        contents.extractall(unpacked, filter="data")
    [root] = unpacked.iterdir()
    return root


def installed(folder: Path, packages: tuple[str, ...]) -> None:
    """Has npm install what ``package.json`` in ``folder`` wants to run, and ``packages``, once. Raises Unavailable."""
    require("node", "npm")
    if not (folder / "node_modules").is_dir():
        wanted = json.loads((folder / "package.json").read_text())
        # Else npm would leave out those of ``packages`` that are among them.
        wanted.pop("devDependencies", None)
        (folder / "package.json").write_text(json.dumps(wanted))
        command = ["npm", "install", "--no-save", "--omit=dev", "--omit=optional", "--no-workspaces", "--silent"]
        _run([*command, *packages], f"what {folder.name} needs", folder)


def environment(name: str, requirements: tuple[str, ...]) -> Path:
    """The interpreter of a virtual environment with ``requirements``, made once; this one if there are none. Raises
    Unavailable."""
    if not requirements:
        return Path(sys.executable)
    folder = cache() / f"environment-{name}"
    python = folder / "bin" / "python"
    wanted = folder / "requirements.txt"
    text = "\n".join(requirements)
    if not wanted.is_file() or wanted.read_text() != text:
        _run([sys.executable, "-m", "venv", "--clear", str(folder)], f"the environment of {name}")
        _run([str(python), "-m", "pip", "install", "--quiet", *requirements], f"what {name} needs")
        wanted.write_text(text)
    return python


def _run(command: list[str], what: str, folder: Path | None = None) -> str:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=FETCH_SECONDS, cwd=folder)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{what}: not there within {FETCH_SECONDS} s") from None
    if ran.returncode:
        last = (ran.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise Unavailable(f"{what}: {last}")
    return ran.stdout
