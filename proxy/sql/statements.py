"""Every kind of statement that PostgreSQL's grammar knows and consentry lets pass, by what it takes to use it.

A closed world: a kind that is not here is refused.
"""

from __future__ import annotations

from enum import Enum


class Family(Enum):
    """What it takes to use a kind of statement."""

    QUERY = "query"
    """Reads and writes rows: its relations, functions and columns are judged."""
    SESSION = "session"
    """Transactions, settings, cursors, prepared statements, notifications."""
    MAINTENANCE = "maintenance"
    """LOCK, ANALYZE, VACUUM, CHECKPOINT: shows and changes no value."""
    DDL = "ddl"
    """Needs ``ddl: true``."""
    CODE = "code"
    """Needs ``code: true``: runs code that nobody here can read, or carries data to where no policy holds."""


_QUERY = {
    "SelectStmt": "SELECT",
    "InsertStmt": "INSERT",
    "UpdateStmt": "UPDATE",
    "DeleteStmt": "DELETE",
    "MergeStmt": "MERGE",
    "CopyStmt": "COPY",
    "ExplainStmt": "EXPLAIN",
    "TruncateStmt": "TRUNCATE TABLE",
    "DeclareCursorStmt": "DECLARE CURSOR",
    "PrepareStmt": "PREPARE",
    "ExecuteStmt": "EXECUTE",
}
_SESSION = {
    "DeallocateStmt": "DEALLOCATE",
    "FetchStmt": "FETCH",
    "ClosePortalStmt": "CLOSE CURSOR",
    "TransactionStmt": "TRANSACTION",
    "ConstraintsSetStmt": "SET CONSTRAINTS",
    "VariableSetStmt": "SET",
    "VariableShowStmt": "SHOW",
    "DiscardStmt": "DISCARD",
    "ListenStmt": "LISTEN",
    "UnlistenStmt": "UNLISTEN",
    "NotifyStmt": "NOTIFY",
}
_MAINTENANCE = {"LockStmt": "LOCK TABLE", "VacuumStmt": "VACUUM", "CheckPointStmt": "CHECKPOINT"}
_DDL = {
    "CreateStmt": "CREATE TABLE",
    "CreateTableAsStmt": "CREATE TABLE AS",
    "AlterTableStmt": "ALTER TABLE",
    "DropStmt": "DROP",
    "IndexStmt": "CREATE INDEX",
    "ReindexStmt": "REINDEX",
    "ClusterStmt": "CLUSTER",
    "ViewStmt": "CREATE VIEW",
    "RefreshMatViewStmt": "REFRESH MATERIALIZED VIEW",
    "CreateSeqStmt": "CREATE SEQUENCE",
    "AlterSeqStmt": "ALTER SEQUENCE",
    "CreateSchemaStmt": "CREATE SCHEMA",
    "CreateEnumStmt": "CREATE TYPE",
    "AlterEnumStmt": "ALTER TYPE",
    "CompositeTypeStmt": "CREATE TYPE",
    "CreateRangeStmt": "CREATE TYPE",
    "AlterTypeStmt": "ALTER TYPE",
    "CreateDomainStmt": "CREATE DOMAIN",
    "AlterDomainStmt": "ALTER DOMAIN",
    "CreateFunctionStmt": "CREATE FUNCTION",
    "AlterFunctionStmt": "ALTER FUNCTION",
    "CreateTrigStmt": "CREATE TRIGGER",
    "RuleStmt": "CREATE RULE",
    "CreatePolicyStmt": "CREATE POLICY",
    "AlterPolicyStmt": "ALTER POLICY",
    "CreateStatsStmt": "CREATE STATISTICS",
    "AlterStatsStmt": "ALTER STATISTICS",
    "CreateExtensionStmt": "CREATE EXTENSION",
    "AlterExtensionStmt": "ALTER EXTENSION",
    "DefineStmt": "CREATE",
    "AlterOperatorStmt": "ALTER OPERATOR",
    "CommentStmt": "COMMENT",
    "GrantStmt": "GRANT",
    "GrantRoleStmt": "GRANT ROLE",
    "AlterDefaultPrivilegesStmt": "ALTER DEFAULT PRIVILEGES",
    "AlterObjectDependsStmt": "ALTER",
    "AlterObjectSchemaStmt": "ALTER",
    "AlterOwnerStmt": "ALTER",
    "AlterTableMoveAllStmt": "ALTER TABLE",
    "RenameStmt": "ALTER",
    "CreateRoleStmt": "CREATE ROLE",
    "AlterRoleStmt": "ALTER ROLE",
    "AlterRoleSetStmt": "ALTER ROLE",
    "DropRoleStmt": "DROP ROLE",
    "AlterDatabaseSetStmt": "ALTER DATABASE",
    "AlterDatabaseStmt": "ALTER DATABASE",
    "AlterDatabaseRefreshCollStmt": "ALTER DATABASE",
    "DropdbStmt": "DROP DATABASE",
    "CreateTableSpaceStmt": "CREATE TABLESPACE",
    "DropTableSpaceStmt": "DROP TABLESPACE",
    "AlterTableSpaceOptionsStmt": "ALTER TABLESPACE",
    "AlterCollationStmt": "ALTER COLLATION",
    "AlterTSDictionaryStmt": "ALTER TEXT SEARCH DICTIONARY",
    "AlterTSConfigurationStmt": "ALTER TEXT SEARCH CONFIGURATION",
    "SecLabelStmt": "SECURITY LABEL",
}
_CODE = {
    "AlterOpFamilyStmt": "ALTER OPERATOR FAMILY",
    "CreateOpFamilyStmt": "CREATE OPERATOR FAMILY",
    "CreateOpClassStmt": "CREATE OPERATOR CLASS",
    "CreateCastStmt": "CREATE CAST",
    "ReassignOwnedStmt": "REASSIGN OWNED",
    "DropOwnedStmt": "DROP OWNED",
    "AlterExtensionContentsStmt": "ALTER EXTENSION",
    "DoStmt": "DO",
    "CallStmt": "CALL",
    "LoadStmt": "LOAD",
    # What follows makes code run elsewhere, carries data out of the database, or reads it from another place.
    "CreatePLangStmt": "CREATE LANGUAGE",
    "CreateTransformStmt": "CREATE TRANSFORM",
    "CreateConversionStmt": "CREATE CONVERSION",
    "CreateAmStmt": "CREATE ACCESS METHOD",
    "CreateEventTrigStmt": "CREATE EVENT TRIGGER",
    "AlterEventTrigStmt": "ALTER EVENT TRIGGER",
    "CreateFdwStmt": "CREATE FOREIGN DATA WRAPPER",
    "AlterFdwStmt": "ALTER FOREIGN DATA WRAPPER",
    "CreateForeignServerStmt": "CREATE SERVER",
    "AlterForeignServerStmt": "ALTER SERVER",
    "CreateForeignTableStmt": "CREATE FOREIGN TABLE",
    "ImportForeignSchemaStmt": "IMPORT FOREIGN SCHEMA",
    "CreateUserMappingStmt": "CREATE USER MAPPING",
    "AlterUserMappingStmt": "ALTER USER MAPPING",
    "DropUserMappingStmt": "DROP USER MAPPING",
    "CreatePublicationStmt": "CREATE PUBLICATION",
    "AlterPublicationStmt": "ALTER PUBLICATION",
    "CreateSubscriptionStmt": "CREATE SUBSCRIPTION",
    "AlterSubscriptionStmt": "ALTER SUBSCRIPTION",
    "DropSubscriptionStmt": "DROP SUBSCRIPTION",
    "CreatedbStmt": "CREATE DATABASE",
    "AlterSystemStmt": "ALTER SYSTEM",
}

KINDS: dict[str, tuple[Family, str]] = {
    **{kind: (Family.QUERY, tag) for kind, tag in _QUERY.items()},
    **{kind: (Family.SESSION, tag) for kind, tag in _SESSION.items()},
    **{kind: (Family.MAINTENANCE, tag) for kind, tag in _MAINTENANCE.items()},
    **{kind: (Family.DDL, tag) for kind, tag in _DDL.items()},
    **{kind: (Family.CODE, tag) for kind, tag in _CODE.items()},
}
"""Node type -> its family, and its command tag as PostgreSQL would say it (without counts)."""

_TRANSACTION_TAGS = {
    "TRANS_STMT_BEGIN": "BEGIN",
    "TRANS_STMT_START": "START TRANSACTION",
    "TRANS_STMT_COMMIT": "COMMIT",
    "TRANS_STMT_ROLLBACK": "ROLLBACK",
    "TRANS_STMT_SAVEPOINT": "SAVEPOINT",
    "TRANS_STMT_RELEASE": "RELEASE",
    "TRANS_STMT_ROLLBACK_TO": "ROLLBACK",
    "TRANS_STMT_PREPARE": "PREPARE TRANSACTION",
    "TRANS_STMT_COMMIT_PREPARED": "COMMIT PREPARED",
    "TRANS_STMT_ROLLBACK_PREPARED": "ROLLBACK PREPARED",
}


def tag(kind: str, node: dict[str, object]) -> str:
    """The command tag of a statement, without counts; the node's name for what is refused anyway."""
    if kind == "TransactionStmt":
        return _TRANSACTION_TAGS.get(str(node.get("kind")), "TRANSACTION")
    return KINDS[kind][1] if kind in KINDS else kind.removesuffix("Stmt").upper()
