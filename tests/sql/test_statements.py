"""The kinds of statements that consentry knows, against PostgreSQL's grammar."""

from __future__ import annotations

from postgast import pg_query_pb2

from proxy.sql.statements import KINDS

PARTS = {"RawStmt", "SetOperationStmt", "ReturnStmt", "PLAssignStmt", "ReplicaIdentityStmt"}
"""Nodes that are named as statements are, and only ever stand inside of one."""


def test_every_kind_of_the_grammar_is_known() -> None:
    named = {name for name in pg_query_pb2.DESCRIPTOR.message_types_by_name if name.endswith("Stmt")}
    assert named - PARTS == set(KINDS)
