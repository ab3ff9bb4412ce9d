"""What the demonstration prints to be pasted into a shell."""

from __future__ import annotations

import shutil
import sys

from proxy.demo.cast import CLOSED, WITHDRAWS, WITHDREW
from proxy.demo.servers import Servers

PEOPLE = f"SELECT id, full_name, phone, status FROM subscribers WHERE id <= {WITHDREW.id} ORDER BY id"
WITHDRAW = f"UPDATE consents SET withdrawn_at = now() WHERE subscriber_id = {WITHDRAWS.id} AND purpose = 'marketing'"


def commands(servers: Servers) -> list[tuple[str, str]]:
    """(what it shows, the command). psql is the one on PATH, or else the embedded server's own."""
    psql = "psql" if shutil.which("psql") else str(servers.postgres.binaries / "psql")
    marketing = servers.dsn("analyst", **{"consentry.purpose": "marketing"})
    support = servers.dsn("support", **{"consentry.purpose": "support"})
    python = f"import psycopg; print(*psycopg.connect('{marketing}').execute('{PEOPLE}'), sep=chr(10))"
    return [
        (
            "an analyst drawing up a campaign: who agreed shows, who did not is masked",
            f'{psql} "{marketing}" -c "{PEOPLE}"',
        ),
        ("the same analyst without a purpose", f'{psql} "{servers.dsn("analyst")}" -c "{PEOPLE}"'),
        (
            f"billing: subscriber {CLOSED.id} closed the account",
            f'{psql} "{servers.dsn("billing_app")}" -c "{PEOPLE}"',
        ),
        (
            f"withdraw {WITHDRAWS.full_name}'s consent in the database itself, then ask again as the analyst",
            f'{psql} "{servers.direct_dsn()}" -c "{WITHDRAW}"',
        ),
        ("a refusal", f'{psql} "{servers.dsn("analyst")}" -c "SET consentry.purpose = \'billing\'"'),
        ("what the database holds", f'{psql} "{servers.direct_dsn()}" -c "{PEOPLE}"'),
        ("from Python", f'{sys.executable} -c "{python}"'),
        ("a session of your own (roles: billing_app, analyst, partner, support, self_care_app)", f'{psql} "{support}"'),
    ]
