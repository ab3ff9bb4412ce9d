"""COPY FROM STDIN as clients send it: psql line by line, asyncpg in binary format."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import asyncpg
import pytest

from tests.fix_postgres import Database

COLUMNS = "id, subscriber_id, callee, started_at"


def psql(direct: Database, address: tuple[str, int], command: str) -> subprocess.CompletedProcess[str]:
    program = [direct.postgres.binaries / "psql", "-XAtq", "-d", direct.through(*address, "billing"), "-c", command]
    return subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("subject", [1, 3], ids=["who consents", "who has withdrawn"])
def test_psql(direct: Database, address: tuple[str, int], tmp_path: Path, subject: int) -> None:
    data = tmp_path / "calls.csv"
    data.write_text("".join(f'{number},{subject},"1,39",2126-01-01\n' for number in range(10, 5010)))
    done = psql(direct, address, f"\\copy calls ({COLUMNS}) FROM '{data}' (FORMAT csv)")
    assert ("writing public.calls.callee is not allowed" in done.stderr) == (subject == 3), done.stderr
    assert direct.execute("SELECT count(*) FROM calls WHERE id >= 10") == [(5000 if subject == 1 else 0,)]


@pytest.mark.parametrize("subject", [1, 3], ids=["who consents", "who has withdrawn"])
def test_asyncpg(direct: Database, address: tuple[str, int], subject: int) -> None:
    async def load() -> str:
        connection = await asyncpg.connect(direct.through(*address, "billing"))
        try:
            records = [(number, subject, "Street", 2030) for number in range(10, 3010)]
            return str(await connection.copy_records_to_table("moves", records=records))
        finally:
            await connection.close()

    if subject == 1:
        assert asyncio.run(load()) == "COPY 3000"
    else:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="address is not allowed"):
            asyncio.run(load())
    assert direct.execute("SELECT count(*) FROM moves WHERE id >= 10") == [(3000 if subject == 1 else 0,)]
