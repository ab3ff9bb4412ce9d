"""The state in which one statement of a text is judged: the session's context, and what the statements before it in
the same text would leave (settings, temporary tables, prepared statements).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from proxy.catalog.model import TEMPORARY, Relation
from proxy.engine.refusals import denied, unsupported
from proxy.engine.search_path import creation_schema, effective, find
from proxy.policy.model import Policy, Role
from proxy.settings import ISOLATION, ROLE, SESSION_AUTHORIZATION
from proxy.verdict import (
    ChangeCatalog,
    Commit,
    Context,
    CreateRelation,
    Deallocate,
    DiscardAll,
    DropRelation,
    Effect,
    Isolate,
    Prepare,
    ResetAll,
    Rollback,
    RollbackTo,
    SetSetting,
)


@dataclass(frozen=True, slots=True)
class SessionState:
    """``unforeseen`` says why the state after an earlier statement of the text cannot be known, '' if it can."""

    context: Context
    unforeseen: str = ""
    strict: bool = False
    """Judged as if the role had no ``code: true``."""

    @property
    def policy(self) -> Policy:
        return self.context.policy

    @property
    def role(self) -> Role | None:
        role = self.context.policy.role(self.context.role)
        return replace(role, code=False) if self.strict and role is not None else role

    @property
    def subject(self) -> str | None:
        return self.context.settings.get("consentry.subject") or None

    def path(self) -> tuple[str, ...]:
        """The effective search_path."""
        return effective(self.context, self.context.settings.get("search_path", '"$user", public'))

    def purpose(self, comment: str | None) -> str | None:
        """The purpose in force: the statement's comment, else the setting, else the role's default; None if none.

        It may be one that is not granted: the decision on each column says so.
        """
        declared = comment or self.context.settings.get("consentry.purpose") or None
        if declared is not None:
            return declared
        return None if self.role is None else self.role.default_purpose

    def declaring(self, comment: str | None) -> SessionState:
        """The state as if the comment's purpose were set."""
        if comment is None:
            return self
        settings = {**self.context.settings, "consentry.purpose": comment}
        return replace(self, context=replace(self.context, settings=settings))

    def check_purpose(self, comment: str | None) -> None:
        """Raises Refused (42501) if the purpose in force is not granted, or was declared in a way that is closed."""
        declared = self.context.settings.get("consentry.purpose") or None
        if comment is not None:
            self.check_declared(comment, "comment")
        elif declared is not None:
            self.check_declared(declared, self.context.purpose_source or "setting")

    def check_declared(self, purpose: str, source: str) -> None:
        """Raises Refused (42501) unless the role may declare ``purpose`` by ``source`` (startup, setting, comment)."""
        role, name = self.role, self.context.role
        granted = sorted(role.purposes) if role is not None else []
        if role is not None and source not in role.declares:
            raise denied(
                f'role "{name}" may not declare a purpose by {source}',
                way_out=f"It may by: {', '.join(sorted(role.declares)) or 'nothing'}.",
                policy=self.policy,
            )
        if purpose not in granted:
            known = "" if purpose in self.policy.purposes else " It is no purpose of the policy."
            raise denied(
                f'purpose "{purpose}" is not granted to role "{name}"',
                detail=f"Granted are: {', '.join(granted) or 'none'}.{known}",
                way_out="Declare a purpose that is granted, or ask for the grant.",
                policy=self.policy,
            )

    # --- what a statement leaves --------------------------------------------------------------------------------------

    def resolved(self, effect: Effect) -> Effect:
        """``effect`` with the schema that CREATE or DROP without one means."""
        if isinstance(effect, CreateRelation) and effect.schema is None and not effect.temporary:
            search_path = self.context.settings.get("search_path", '"$user", public')
            return replace(effect, schema=creation_schema(self.path(), search_path))
        if isinstance(effect, DropRelation) and effect.schema is None:
            dropped = find(self.context, self.path(), None, effect.name)
            return effect if dropped is None else replace(effect, schema=dropped.schema)
        return effect

    def after(self, effects: tuple[Effect, ...]) -> SessionState:
        """The state that a statement with ``effects`` would leave for the next one of the same text."""
        state = self
        for effect in effects:
            state = state._after(effect)
        return state

    def _after(self, effect: Effect) -> SessionState:
        context = self.context
        match effect:
            case SetSetting(name=name, value=value):
                return self._with_setting(name, value)
            case Isolate(level="serializable" as level):
                return replace(self, context=replace(context, settings={**context.settings, ISOLATION: level}))
            case ResetAll() | DiscardAll():
                kept = {} if isinstance(effect, DiscardAll) else {ROLE, SESSION_AUTHORIZATION, ISOLATION}
                settings = {**context.start, **{k: v for k, v in context.settings.items() if k in kept}}
                return replace(self, context=replace(context, settings=settings, purpose_source="startup"))
            case CreateRelation(schema=schema, name=name, temporary=temporary):
                place = TEMPORARY if temporary or schema is None else schema
                return self._with_overlay({(place, name): Relation(0, place, name, "r", temporary=temporary)})
            case DropRelation(schema=schema, name=name):
                return self._with_overlay({(schema or TEMPORARY, name): None})
            case Prepare(name=name, text=text, sent=sent):
                others = {other: one for other, one in context.prepared_sent.items() if other != name}
                known = {**others, name: sent} if sent is not None else others
                prepared = {**context.prepared, name: text}
                return replace(self, context=replace(context, prepared=prepared, prepared_sent=known))
            case Deallocate():
                return replace(self, unforeseen="DEALLOCATE stands before it")
            case Commit() | Rollback() | RollbackTo() if context.dirty:
                return replace(self, unforeseen="a transaction that changed settings ends before it")
            case ChangeCatalog(code=True):
                return replace(self, context=replace(context, uncommitted_code=True))
            case _:
                return self

    def _with_setting(self, name: str, value: str | None) -> SessionState:
        settings = dict(self.context.settings)
        restored = self.context.start.get(name) if value is None else value
        if restored is None:
            settings.pop(name, None)
        else:
            settings[name] = restored
        context = replace(self.context, settings=settings, dirty=True)
        if name == "consentry.purpose":
            context = replace(context, purpose_source="startup" if value is None else "setting")
        state = replace(self, context=context)
        if name in ("role", "session_authorization"):
            return replace(state, unforeseen="the current role changes before it")
        return state

    def _with_overlay(self, changed: Mapping[tuple[str, str], Relation | None]) -> SessionState:
        return replace(self, context=replace(self.context, overlay={**self.context.overlay, **changed}))

    def must_be_known(self) -> None:
        """Raises Refused (0A000) where a statement depends on a state that cannot be foreseen; not for a role that is
        trusted with everything.
        """
        if self.unforeseen and not (self.role is not None and self.role.code):
            raise unsupported(
                f"the state in which this statement would run cannot be foreseen: {self.unforeseen}",
                way_out="Send it in a message of its own.",
            )
