"""Source distributions of clients, which carry their tests: fetched once, kept beside, never committed."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

FETCH_SECONDS = 600


class Unavailable(Exception):
    """A suite that cannot be had or run here; says why."""


def cache() -> Path:
    """Where sources and environments are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "consentry-compat"


def source(requirement: str) -> Path:
    """The unpacked source distribution of ``name==version``. Raises Unavailable."""
    folder = cache() / requirement.replace("==", "-")
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as place:
            archive = _download(requirement, Path(place))
            unpacked = Path(place) / "unpacked"
            with tarfile.open(archive) as contents:
                contents.extractall(unpacked, filter="data")
            [root] = unpacked.iterdir()
            root.rename(folder)
    return folder


def environment(name: str, requirements: tuple[str, ...]) -> Path:
    """The interpreter of a virtual environment with ``requirements``, made once. Raises Unavailable."""
    folder = cache() / f"environment-{name}"
    python = folder / "bin" / "python"
    wanted = folder / "requirements.txt"
    text = "\n".join(requirements)
    if not wanted.is_file() or wanted.read_text() != text:
        _run([sys.executable, "-m", "venv", "--clear", str(folder)], f"the environment of {name}")
        _run([str(python), "-m", "pip", "install", "--quiet", *requirements], f"what {name} needs")
        wanted.write_text(text)
    return python


def _download(requirement: str, place: Path) -> Path:
    name = requirement.partition("==")[0]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name, requirement]
    _run([*command, "--dest", str(place)], f"the source of {requirement}")
    [archive] = place.glob("*.tar.gz")
    return archive


def _run(command: list[str], what: str) -> None:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=FETCH_SECONDS)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{what}: not there within {FETCH_SECONDS} s") from None
    if ran.returncode:
        last = (ran.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise Unavailable(f"{what}: {last}")
