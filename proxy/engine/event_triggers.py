"""Functions of event triggers: they run beside DDL, or at the start of a session, and see what they like.

Only superusers make event triggers (CREATE EVENT TRIGGER, manual), but whoever owns the function may replace it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from proxy.catalog.model import Catalog, EventTrigger, Function
from proxy.engine.refusals import denied, unsupported
from proxy.engine.session_state import SessionState
from proxy.engine.trust import Trust
from proxy.policy.model import Policy, Role
from proxy.sql.facts import Facts
from proxy.sql.statements import KINDS, Family

LOGIN = "login"
_REWRITE = "table_rewrite"

_SHARED = frozenset(
    """
    CreateRoleStmt AlterRoleStmt AlterRoleSetStmt DropRoleStmt GrantRoleStmt AlterDatabaseSetStmt AlterDatabaseStmt
    AlterDatabaseRefreshCollStmt DropdbStmt CreateTableSpaceStmt DropTableSpaceStmt AlterTableSpaceOptionsStmt
    ClusterStmt
    """.split()
)
"""Commands that fire none: what they change belongs to no database (manual, chapter 38), or they define nothing."""

_MANY = frozenset({"CreateExtensionStmt", "AlterExtensionStmt", "RefreshMatViewStmt", "CreateSchemaStmt"})
"""Commands that carry out others, each with its own tag: scripts of extensions, the tables that CONCURRENTLY makes."""

_FIRST_WORDS = {"SecLabelStmt": "SECURITY", "RefreshMatViewStmt": "REFRESH", "SelectStmt": "SELECT"}


def check_event_triggers(facts: Facts, state: SessionState, trust: Trust) -> None:
    """Raises Refused where DDL would fire an event trigger: 42501 if its function is not trusted, 0A000 if it may have
    been replaced in this transaction, and nobody looked. Not for roles that are trusted with everything.
    """
    if state.role is not None and state.role.code:
        return
    fired = [one for one in state.context.catalog.event_triggers if _fires(one, facts)]
    if fired and state.context.uncommitted_code:
        raise unsupported(
            "functions were made in this transaction, and an event trigger may run them before it commits",
            way_out="COMMIT first.",
        )
    for trigger, name in _untrusted(fired, state.context.catalog.functions, trust):
        raise denied(
            f"function {name} is not trusted, and {facts.tag} fires the event trigger {trigger.name}, which runs it",
            detail="It runs code that could read or show personal information as it is stored.",
            way_out="Name the function in functions.trusted of the policy, or have a superuser disable the trigger.",
            policy=state.policy,
        )


def logs_in(catalog: Catalog) -> bool:
    """The start of a session runs code."""
    return any(one.event == LOGIN for one in catalog.event_triggers)


def check_login(role: Role | None, policy: Policy, catalog: Catalog, trust: Trust) -> None:
    """Raises Refused (42501) where the start of a session would run a function that is not trusted (``login``, since
    PostgreSQL 17). Not for roles that are trusted with everything.
    """
    if role is not None and role.code:
        return
    fired = [one for one in catalog.event_triggers if one.event == LOGIN]
    for trigger, name in _untrusted(fired, catalog.functions, trust):
        raise denied(
            f"function {name} is not trusted, and the event trigger {trigger.name} runs it when a session starts",
            detail="It runs code that could read or show personal information as it is stored.",
            way_out="Name the function in functions.trusted of the policy, or have a superuser disable the trigger.",
            policy=policy,
        )


def _untrusted(
    fired: list[EventTrigger], functions: Mapping[int, Function], trust: Trust
) -> Iterator[tuple[EventTrigger, str]]:
    for trigger in fired:
        function = functions.get(trigger.function)
        announces = function is not None and function.version == trigger.announces
        for name in [] if announces else trust.oids([trigger.function]):
            yield trigger, name


def _fires(trigger: EventTrigger, facts: Facts) -> bool:
    """The statement may fire the trigger. Of command tags the first word is compared: the rest depends on what a name
    means."""
    kind = facts.statement.kind
    if trigger.event == LOGIN or kind in _SHARED:
        return False
    if kind in _MANY:
        return True
    word = _first_word(facts)
    if trigger.event == _REWRITE and word != "ALTER":
        return False
    return not trigger.tags or any(tag.split()[0] == word for tag in trigger.tags)


def _first_word(facts: Facts) -> str:
    kind, node = facts.statement.kind, facts.statement.node
    if kind == "GrantStmt":
        return "GRANT" if node.get("is_grant") else "REVOKE"
    return _FIRST_WORDS.get(kind) or KINDS.get(kind, (Family.DDL, facts.tag))[1].split()[0]
