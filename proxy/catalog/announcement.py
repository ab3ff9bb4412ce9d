"""How a database may tell at once that its catalog changed: an event trigger that notifies, for who wants one."""

from __future__ import annotations

from typing import Final

CHANNEL: Final = "consentry_catalog"
"""What readers of the catalog listen on. A notification carries nothing; it only makes them look."""

BODY: Final = f"BEGIN PERFORM pg_catalog.pg_notify('{CHANNEL}', ''); END"
"""What the function of these event triggers does; one that does this and nothing else needs nobody's trust."""

EVENT_TRIGGER: Final = f"""\
-- Run this as a superuser in each database that consentry serves. Schema changes that go past it are then seen as soon
-- as they are committed, and not only after catalog.refresh.
CREATE SCHEMA IF NOT EXISTS consentry;
CREATE OR REPLACE FUNCTION consentry.announce_catalog() RETURNS event_trigger
    LANGUAGE plpgsql SET search_path = '' AS
$${BODY}$$;
DROP EVENT TRIGGER IF EXISTS consentry_changed;
DROP EVENT TRIGGER IF EXISTS consentry_dropped;
CREATE EVENT TRIGGER consentry_changed ON ddl_command_end EXECUTE FUNCTION consentry.announce_catalog();
CREATE EVENT TRIGGER consentry_dropped ON sql_drop EXECUTE FUNCTION consentry.announce_catalog();
"""
