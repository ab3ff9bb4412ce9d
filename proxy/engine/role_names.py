"""Statements after which a session could log in as another role: the policy decides by the role that logged in, so
whoever could take another's name or password would take what the policy grants it.
"""

from __future__ import annotations

from collections.abc import Iterator

from proxy.engine.refusals import denied
from proxy.engine.session_state import SessionState
from proxy.sql.facts import Facts
from proxy.sql.grammar import Node

_ANYBODY = "*"


def check_roles(facts: Facts, state: SessionState) -> None:
    """Raises Refused (42501) for LOGIN, passwords and names of roles that the policy knows, but for one's own password.

    Not for roles that are trusted with everything. A role that may SET ROLE to another may change its password
    (user.c, AlterRole).
    """
    if state.role is not None and state.role.code:
        return
    for name in _taken(facts):
        known = name in state.policy.roles or _ANYBODY in state.policy.roles
        if name is None or (known and (name != state.context.role or facts.statement.kind == "RenameStmt")):
            raise denied(
                f"{facts.tag} {name or ''}".rstrip() + " would let somebody log in by a role that the policy knows",
                detail="What may be seen is decided by the role that logged in.",
                way_out="Do it on a connection that does not go through consentry.",
                policy=state.policy,
            )


def _taken(facts: Facts) -> Iterator[str | None]:
    """The roles by whose name somebody could log in who could not before; None: one that the text does not name."""
    node = facts.statement.node
    match facts.statement.kind:
        case "CreateRoleStmt" if node.get("stmt_type") == "ROLESTMT_USER" or _admits(node):
            yield node.get("role", "")
        case "AlterRoleStmt" if _admits(node):
            yield node.get("role", {}).get("rolename")
        case "RenameStmt" if node.get("renameType") == "OBJECT_ROLE":
            yield node.get("subname", "")
            yield node.get("newname", "")


def _admits(node: Node) -> bool:
    """LOGIN or a password is among the options."""
    options = (item.get("DefElem", {}) for item in node.get("options", ()))
    return any(
        one.get("defname") == "password"
        or (one.get("defname") == "canlogin" and one.get("arg", {}).get("Boolean", {}).get("boolval", False))
        for one in options
    )
