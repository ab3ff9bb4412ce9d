"""Valid files -> the frozen policy that decisions are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar

from proxy.masks import Mask
from proxy.policy.files import PolicyFile, digest
from proxy.policy.floor import category_of, sensitivity
from proxy.policy.mask_form import MaskForm
from proxy.policy.masking import read_mask
from proxy.policy.model import (
    Account,
    BulkLimit,
    Category,
    ColumnPolicy,
    ConsentSource,
    Contact,
    Defaults,
    Name,
    Outcome,
    Policy,
    Purpose,
    Retention,
    Role,
    Rule,
    SubjectKind,
    SubjectLink,
    Suspension,
    TablePolicy,
    Use,
    Via,
)
from proxy.policy.references import named_masks
from proxy.policy.schema import (
    ColumnForm,
    DefaultsForm,
    PurposeForm,
    RoleForm,
    RuleForm,
    SubjectForm,
    SubjectLinkForm,
    TableForm,
)
from proxy.policy.values import read_table


def build(file: PolicyFile) -> Policy:
    """The policy of a file without errors, with everything that it extends."""
    files = file.lineage()
    masks = named_masks(file)
    categories = _categories(files)
    contacts = [one.form.contact for one in files if one.form.contact is not None]
    contact = contacts[-1] if contacts else None
    return Policy(
        name=file.name,
        digest=digest(file),
        contact=Contact(contact.name or "", contact.email or "", contact.url or "") if contact else Contact(),
        subjects=_frozen({name: _subject(name, form) for one in files for name, form in one.form.subjects.items()}),
        tables=_frozen(
            {
                read_table(name): _table(read_table(name), form, categories, masks)
                for one in files
                for name, form in one.form.tables.items()
            }
        ),
        categories=_frozen(categories),
        purposes=_frozen({name: _purpose(name, form) for one in files for name, form in one.form.purposes.items()}),
        roles=_frozen({name: _role(name, form) for one in files for name, form in one.form.roles.items()}),
        rules=tuple(_rule(form, masks) for one in files for form in one.form.rules),
        defaults=_defaults([one.form.defaults for one in files]),
        suspensions=tuple(
            Suspension(form.purpose, form.from_, form.until, form.reason)
            for one in files
            for form in one.form.suspensions
        ),
        bulk=tuple(
            BulkLimit(form.id, _selector(form.roles), form.conflicts_per_minute, form.effect)
            for one in files
            for form in one.form.bulk
        ),
        trusted_functions=_union(one.form.functions.trusted for one in files),
        trusted_views=_union(one.form.views.trusted for one in files),
        trusted_channels=_union(one.form.channels.trusted for one in files),
    )


K = TypeVar("K")
V = TypeVar("V")


def _frozen(mapping: dict[K, V]) -> Mapping[K, V]:
    return MappingProxyType(mapping)


def _union(lists: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for names in lists for name in names))


def _mask(written: str | MaskForm, masks: Mapping[str, Mask | None]) -> Mask:
    mask = read_mask(written, masks)
    if mask is None:
        raise ValueError(f"the mask {written!r} was not checked")
    return mask


def _categories(files: tuple[PolicyFile, ...]) -> dict[str, Category]:
    masks = named_masks(files[-1])
    found = {name: category_of(name, files, masks) for one in files for name in one.form.categories}
    return {name: category for name, category in found.items() if category is not None}


def _subject(name: str, form: SubjectForm) -> SubjectKind:
    table, account, consent = read_table(form.table), None, None
    if form.account is not None:
        account = Account(
            table=table if form.account.table is None else read_table(form.account.table),
            subject=form.account.subject or form.key,
            column=form.account.column,
            states=_frozen({state: tuple(values) for state, values in form.account.states.items()}),
        )
    if form.consent is not None:
        columns = form.consent.model_dump(exclude={"table"})
        consent = ConsentSource(table=read_table(form.consent.table), **columns)
    return SubjectKind(name, table, form.key, account, consent)


def _table(
    name: Name, form: TableForm, categories: dict[str, Category], masks: Mapping[str, Mask | None]
) -> TablePolicy:
    columns = {column: _column(column, written, categories, masks) for column, written in form.columns.items()}
    retention = Retention(form.retention.from_, form.retention.keep) if form.retention else None
    return TablePolicy(name, _link(form.subject) if form.subject else None, retention, _frozen(columns))


def _link(form: SubjectLinkForm) -> SubjectLink:
    via = Via(read_table(form.via.table), form.via.column, form.via.key) if form.via else None
    return SubjectLink(form.kind, form.key, via)


def _column(
    name: str, written: str | ColumnForm, categories: dict[str, Category], masks: Mapping[str, Mask | None]
) -> ColumnPolicy:
    form = ColumnForm(category=written) if isinstance(written, str) else written
    category = categories[form.category]
    return ColumnPolicy(
        name=name,
        category=category.name,
        sensitivity=sensitivity(form.sensitivity) if form.sensitivity else category.sensitivity,
        mask=category.mask if form.mask is None else _mask(form.mask, masks),
    )


def _purpose(name: str, form: PurposeForm) -> Purpose:
    return Purpose(
        name=name,
        description=form.description or "",
        basis=form.basis,
        categories=frozenset(form.categories),
        accounts=None if form.accounts == "any" else frozenset(form.accounts),
        self_only=form.self_,
        share=frozenset(form.share),
        erase=form.erase,
        notice_version=form.notice.version if form.notice else None,
    )


def _role(name: str, form: RoleForm) -> Role:
    return Role(
        name=name,
        purposes=frozenset(form.purposes),
        default_purpose=form.default_purpose,
        third_party=form.recipient == "third_party",
        declares=frozenset(form.declares),
        manages=frozenset(form.manages),
        ddl=form.ddl,
        code=form.code,
    )


def _selector(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None or "*" in names else frozenset(names)


def _rule(form: RuleForm, masks: Mapping[str, Mask | None]) -> Rule:
    return Rule(
        id=form.id,
        roles=_selector(form.roles),
        purposes=_selector(form.purposes),
        categories=_selector(form.categories),
        uses=None if form.uses is None else frozenset(Use(use) for use in form.uses),
        effect=Outcome[form.effect.upper()],
        mask=None if form.mask is None else _mask(form.mask, masks),
    )


def _defaults(forms: list[DefaultsForm]) -> Defaults:
    """The strictest of all files; the checks have seen that no file loosens what it extends."""

    def strictest(key: str) -> Outcome:
        return max((Outcome[said.upper()] for form in forms if (said := getattr(form, key))), default=Outcome.MASK)

    return Defaults(
        undeclared_purpose=strictest("undeclared_purpose"),
        out_of_scope=strictest("out_of_scope"),
        condition_failed=strictest("condition_failed"),
        unclassified_tables="reject" if any(form.unclassified_tables == "reject" for form in forms) else "allow",
    )
