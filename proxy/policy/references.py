"""What names in a file refer to, and keys that cannot stand together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from proxy.masks import Mask
from proxy.policy.diagnostic import did_you_mean
from proxy.policy.files import Place, PolicyFile
from proxy.policy.mask_form import MaskForm
from proxy.policy.masking import BUILT_IN, WITH_PARAMETERS, BadMask, read_mask
from proxy.policy.model import Name
from proxy.policy.schema import AccountForm, BulkForm, ColumnForm, ExemptionForm, PurposeForm, RuleForm, SubjectLinkForm
from proxy.policy.values import read_table

Masks = Mapping[str, Mask | None]


def named_masks(file: PolicyFile) -> dict[str, Mask | None]:
    """The named masks that ``file`` sees; None stands for one that is wrong. Says nothing about them."""
    named: dict[str, Mask | None] = {}
    for one in file.lineage():
        for name in one.declared("masks"):
            named.setdefault(name, None)
        for name, written in one.form.masks.items():
            try:
                named[name] = read_mask(written, {})
            except BadMask:
                named[name] = None
    return named


def check_references(file: PolicyFile) -> None:
    """Reports every wrong reference of ``file`` alone; what it extends is checked on its own."""
    named = named_masks(file)
    _check_masks(file, named)
    for kind, form in file.form.subjects.items():
        if form.account is not None:
            _check_account(file, ("subjects", kind, "account"), form.account)
    _check_tables(file, named)
    for name, purpose in file.form.purposes.items():
        _check_purpose(file, name, purpose)
    _check_roles(file)
    _check_rules(file, named)
    _check_orders(file)


def _known(file: PolicyFile, place: Place, what: str, name: str, section: str) -> None:
    names = file.declared(section)
    if name not in names and file.whole:
        message = f"there is no {what} '{name}'{did_you_mean(name, names)}"
        file.error(place, f"unknown-{what.split()[-1]}", message)


def _each_known(file: PolicyFile, place: Place, what: str, names: Iterable[str] | None, section: str) -> None:
    """Every name of a list is known; ``'*'`` stands for all."""
    for index, name in enumerate(names or ()):
        if name != "*":
            _known(file, (*place, index), what, name, section)


def _mask(file: PolicyFile, place: Place, written: str | MaskForm | None, named: Masks) -> None:
    try:
        if written is not None:
            read_mask(written, named)
    except BadMask as error:
        if file.whole:
            file.error(place, "unknown-mask", str(error))


def _check_masks(file: PolicyFile, named: Masks) -> None:
    for name, written in file.form.masks.items():
        if name in BUILT_IN | WITH_PARAMETERS:
            file.error(("masks", name), "duplicate-name", f"'{name}' is a mask that consentry brings", key=True)
        _mask(file, ("masks", name), written, {})
    for name, category in file.form.categories.items():
        if name == "*":
            file.error(("categories", name), "bad-value", "'*' stands for all categories", key=True)
        _mask(file, ("categories", name, "mask"), category.mask, named)


def _check_account(file: PolicyFile, place: Place, account: AccountForm) -> None:
    seen: dict[str, str] = {}
    for state, values in account.states.items():
        for index, value in enumerate(values):
            if value in seen:
                message = f"the value '{value}' already means '{seen[value]}'"
                file.error((*place, "states", state, index), "duplicate-name", message)
            seen.setdefault(value, state)


def _check_tables(file: PolicyFile, named: Masks) -> None:
    seen: dict[Name, str] = {}
    for name, table in file.form.tables.items():
        place: Place = ("tables", name)
        if (first := seen.setdefault(read_table(name), name)) != name:
            file.error(place, "duplicate-name", f"'{name}' is the same table as '{first}'", key=True)
        if table.subject is not None:
            _check_link(file, (*place, "subject"), table.subject)
        for column, form in table.columns.items():
            at: Place = (*place, "columns", column)
            if isinstance(form, ColumnForm):
                _known(file, (*at, "category"), "category", form.category, "categories")
                _mask(file, (*at, "mask"), form.mask, named)
                for path, category in (form.json_ or {}).items():
                    _known(file, (*at, "json", path), "category", category, "categories")
            else:
                _known(file, at, "category", form, "categories")


def _check_link(file: PolicyFile, place: Place, link: SubjectLinkForm) -> None:
    _known(file, (*place, "kind"), "kind of subject", link.kind, "subjects")
    if link.via is not None:
        _check_via(file, place, link)


def _check_via(file: PolicyFile, place: Place, link: SubjectLinkForm) -> None:
    """Follows the way to a table that holds a subject key itself."""
    forms = {read_table(name): form for one in file.lineage() for name, form in one.form.tables.items()}
    at: Place = (*place, "via", "table")
    trail, next_link = [read_table(str(place[1]))], link
    while next_link.via is not None:
        name = read_table(next_link.via.table)
        target = forms.get(name)
        if name in trail:
            file.error(at, "conflict", f"the way to the subject leads back to {next_link.via.table}")
            return
        if target is None and _is_registry(file, link.kind, name):
            return
        if target is None or target.subject is None:
            if not _has_subject(file, name):
                message = (
                    f"'{next_link.via.table}' has no subject under tables, so conditions about a subject fail here"
                )
                file.warning(at, "unknown-table", message)
            return
        if target.subject.kind != link.kind:
            message = f"'{next_link.via.table}' is about the subject kind '{target.subject.kind}', not '{link.kind}'"
            file.error(at, "conflict", message)
            return
        trail.append(name)
        next_link = target.subject


def _is_registry(file: PolicyFile, kind: str, table: Name) -> bool:
    """The registry of a kind leads to its own subjects, classified or not."""
    forms = [one.form.subjects[kind] for one in file.lineage() if kind in one.form.subjects]
    return any(read_table(form.table) == table for form in forms)


def _same(written: str, table: Name) -> bool:
    try:
        return read_table(written) == table
    except ValueError:
        return False


def _has_subject(file: PolicyFile, table: Name) -> bool:
    """The table has a subject as it was written, right or wrong; what is wrong with it was said."""
    for one in file.lineage():
        tables = one.shape.written.get("tables")
        for name, written in tables.items() if isinstance(tables, dict) else ():
            if isinstance(written, dict) and "subject" in written and _same(name, table):
                return True
    return False


def _check_purpose(file: PolicyFile, name: str, purpose: PurposeForm) -> None:
    place: Place = ("purposes", name)
    _each_known(file, (*place, "categories"), "category", purpose.categories, "categories")
    for index, role in enumerate(purpose.share):
        if role == "*":
            file.error((*place, "share", index), "bad-value", "whom data is shared with must be named, one by one")
        else:
            _known(file, (*place, "share", index), "role", role, "roles")
    accounts = [form.account for one in file.lineage() for form in one.form.subjects.values() if form.account]
    states = {state for account in accounts for state in account.states}
    if accounts and "accounts" in purpose.model_fields_set and purpose.accounts != "any":
        for index, state in enumerate(purpose.accounts):
            if state not in states:
                message = f"no subject kind has the account state '{state}'{did_you_mean(state, states)}"
                file.error((*place, "accounts", index), "unknown-state", message)


def _check_roles(file: PolicyFile) -> None:
    for name, role in file.form.roles.items():
        place: Place = ("roles", name)
        for index, purpose in enumerate(role.purposes):
            _known(file, (*place, "purposes", index), "purpose", purpose, "purposes")
        if role.default_purpose is not None and role.default_purpose not in role.purposes:
            message = f"'{role.default_purpose}' is not among the purposes of '{name}'"
            file.error((*place, "default_purpose"), "not-granted", message)
        for index, kind in enumerate(role.manages):
            _known(file, (*place, "manages", index), "kind of subject", kind, "subjects")


def _check_rules(file: PolicyFile, named: Masks) -> None:
    _check_selectors(file, "rules", file.form.rules)
    _check_selectors(file, "bulk", file.form.bulk)
    _check_selectors(file, "exemptions", file.form.exemptions)
    for index, rule in enumerate(file.form.rules):
        _mask(file, ("rules", index, "mask"), rule.mask, named)


def _check_selected_roles(file: PolicyFile, place: Place, roles: Sequence[str] | None) -> None:
    """A role that the policy does not name may still log in, without purposes; so this is no error, but odd."""
    names = file.declared("roles")
    if "*" in names or not file.whole:
        return
    for index, name in enumerate(roles or ()):
        if name != "*" and name not in names:
            message = f"the policy does not name the role '{name}'{did_you_mean(name, names)}"
            file.warning((*place, index), "unknown-role", message)


def _check_selectors(file: PolicyFile, section: str, forms: Sequence[RuleForm | BulkForm | ExemptionForm]) -> None:
    seen: set[str] = set()
    for index, form in enumerate(forms):
        place: Place = (section, index)
        if form.id in seen:
            file.error((*place, "id"), "duplicate-name", f"'{form.id}' stands twice under {section}")
        seen.add(form.id)
        _check_selected_roles(file, (*place, "roles"), form.roles)
        if not isinstance(form, BulkForm):
            _each_known(file, (*place, "purposes"), "purpose", form.purposes, "purposes")
            _each_known(file, (*place, "categories"), "category", form.categories, "categories")


def _check_orders(file: PolicyFile) -> None:
    for index, order in enumerate(file.form.suspensions):
        _known(file, ("suspensions", index, "purpose"), "purpose", order.purpose, "purposes")
