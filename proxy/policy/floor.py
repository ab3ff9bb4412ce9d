"""What a file may do to what it extends: tighten, never loosen; and what packs demand.

Categories may be defined again, more strictly. Defaults may be stricter. Everything else that a base defines stands:
to define it again is an error, whatever it says, since nobody could tell tightening from loosening at a glance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from proxy.masks import Mask
from proxy.policy.files import Place, PolicyFile
from proxy.policy.mask_form import MaskForm
from proxy.policy.mask_order import at_most, meet
from proxy.policy.masking import BadMask, read_mask
from proxy.policy.model import Category, Outcome, Sensitivity
from proxy.policy.references import named_masks
from proxy.policy.schema import ColumnForm, DefaultsForm, PackForm
from proxy.policy.values import read_table

_STRICTNESS = {"allow": Outcome.ALLOW, **{outcome.name.lower(): outcome for outcome in Outcome}}


def sensitivity(written: str) -> Sensitivity:
    return Sensitivity[written.upper()]


def category_of(name: str, files: tuple[PolicyFile, ...], named: Mapping[str, Mask | None]) -> Category | None:
    """The category as all of ``files`` define it: the strictest of them, also of two packs that know nothing of each
    other. None where none does, or its mask is wrong.
    """
    found: Category | None = None
    for file in files:
        form = file.form.categories.get(name)
        mask = None if form is None else _mask(form.mask, named)
        if form is None or mask is None:
            continue
        found = Category(
            name,
            max(sensitivity(form.sensitivity), found.sensitivity if found else Sensitivity.GENERAL),
            meet(mask, found.mask) if found else mask,
        )
    return found


def check_floor(file: PolicyFile) -> None:
    """Reports where ``file`` defines again or loosens what it extends."""
    bases = tuple(file.all_bases())
    _check_redefinitions(file, bases)
    named = named_masks(file)
    _check_categories(file, bases, named)
    _check_columns(file, bases, named)
    for base in bases:
        _check_defaults(file, base)


def check_packs(file: PolicyFile) -> None:
    """Reports what the packs that ``file`` extends demand of it. What a base lacks is reported there."""
    for index, base in file.bases.items():
        for one in (*base.all_bases(), base):
            if one.form.pack is not None:
                demand = _Demand(file, one.name, one.form.pack, ("extends", index))
                _check_subjects(demand)
                _check_purposes(demand)


def check_contact(file: PolicyFile) -> None:
    """A contact is demanded of the whole policy, not of each of its files; packs themselves have none."""
    if file.form.pack is not None or any(one.form.contact for one in file.lineage()):
        return
    if "contact" in file.shape.written:
        return
    for index, base in file.bases.items():
        for one in (*base.all_bases(), base):
            if one.form.pack is not None and "contact" in one.form.pack.requires:
                file.error(("extends", index), "pack-requires", f"{one.name} demands a contact that answers complaints")
                return


# --- what stands ------------------------------------------------------------------------------------------------------


def _names(file: PolicyFile) -> Iterator[tuple[Place, object, str, bool]]:
    """Everything that a file names once and for all: place, identity, words, and whether the place is a key."""
    form = file.form
    for section in ("subjects", "purposes", "roles", "masks"):
        for name in getattr(form, section):
            yield (section, name), (section, name), f"{section} '{name}'", True
    for name in form.tables:
        yield ("tables", name), ("tables", read_table(name)), f"table '{name}'", True
    for section in ("rules", "bulk", "exemptions"):
        for index, item in enumerate(getattr(form, section)):
            yield (section, index, "id"), (section, item.id), f"{section} '{item.id}'", False


def _check_redefinitions(file: PolicyFile, bases: tuple[PolicyFile, ...]) -> None:
    defined: dict[object, PolicyFile] = {}
    for base in bases:
        for _, identity, words, _ in _names(base):
            other = defined.setdefault(identity, base)
            # Where one of them extends the other, it was said there.
            if other is not base and other not in base.all_bases():
                file.error(("extends",), "redefined", f"{words} is defined by both {other.name} and {base.name}")
    for place, identity, words, key in _names(file):
        if identity in defined:
            file.error(place, "redefined", f"{words} is defined by {defined[identity].name}", key=key)


def _mask(written: str | MaskForm, named: Mapping[str, Mask | None]) -> Mask | None:
    try:
        return read_mask(written, named)
    except BadMask:
        return None  # reported where references are checked


def _check_categories(file: PolicyFile, bases: tuple[PolicyFile, ...], named: Mapping[str, Mask | None]) -> None:
    for name, form in file.form.categories.items():
        base = category_of(name, bases, named)
        if base is not None:
            place: Place = ("categories", name)
            _check_override(file, place, base, form.sensitivity, _mask(form.mask, named), "the category")


def _check_columns(file: PolicyFile, bases: tuple[PolicyFile, ...], named: Mapping[str, Mask | None]) -> None:
    for table, form in file.form.tables.items():
        for column, written in form.columns.items():
            base = category_of(written.category, bases, named) if isinstance(written, ColumnForm) else None
            if base is not None and isinstance(written, ColumnForm):
                place: Place = ("tables", table, "columns", column)
                mask = None if written.mask is None else _mask(written.mask, named)
                _check_override(file, place, base, written.sensitivity, mask, "the column")


def _check_override(
    file: PolicyFile, place: Place, base: Category, written: str | None, mask: Mask | None, what: str
) -> None:
    if written is not None and sensitivity(written) < base.sensitivity:
        message = f"{what} may not be less sensitive than the category '{base.name}', which is sensitive"
        file.error((*place, "sensitivity"), "loosens", message)
    if mask is not None and not at_most(mask, base.mask):
        message = (
            f"{what} may not show more than the mask {base.mask.kind} of the category '{base.name}' does; "
            "redact and nullify always may be used"
        )
        file.error((*place, "mask"), "loosens", message)


def _check_defaults(file: PolicyFile, base: PolicyFile) -> None:
    for key in DefaultsForm.model_fields:
        floor, written = getattr(base.form.defaults, key), getattr(file.form.defaults, key)
        if floor is not None and written is not None and _STRICTNESS[written] < _STRICTNESS[floor]:
            file.error(("defaults", key), "loosens", f"{base.name} sets {key} to {floor}, which is stricter")


# --- what packs demand ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Demand:
    """One pack and the file that must meet it; ``place`` is the entry of ``extends`` that brings the pack in."""

    file: PolicyFile
    name: str
    pack: PackForm
    place: Place

    def missing(self, place: Place, what: str) -> None:
        self.file.error(place, "pack-requires", f"{self.name} demands {what}", key=True)


def _check_subjects(demand: _Demand) -> None:
    for kind, form in demand.file.form.subjects.items():
        place: Place = ("subjects", kind)
        written = demand.file.shape.written["subjects"][kind]
        for source in ("account", "consent"):
            if source in demand.pack.requires and getattr(form, source) is None and source not in written:
                demand.missing(place, f"'{source}' of every subject kind, and '{kind}' has none")


def _check_purposes(demand: _Demand) -> None:
    file, pack = demand.file, demand.pack
    for name, form in file.form.purposes.items():
        place: Place = ("purposes", name)
        written = file.shape.written["purposes"][name]
        if pack.bases is not None and form.basis not in pack.bases:
            message = f"{demand.name} admits only {', '.join(pack.bases)} as a basis, not {form.basis}"
            file.error((*place, "basis"), "basis", message)
        if "description" in pack.requires and form.description is None and "description" not in written:
            demand.missing(place, f"a description of every purpose, and '{name}' has none")
        _check_notice(demand, name)
        _check_accounts(demand, name)


def _check_notice(demand: _Demand, name: str) -> None:
    notice = demand.file.form.purposes[name].notice
    written = demand.file.shape.written["purposes"][name].get("notice")
    absent = [key for key in demand.pack.notice if getattr(notice, key, None) is None]
    if isinstance(written, dict):
        absent = [key for key in absent if key not in written]
    elif written is not None:
        absent = []
    if absent:
        place: Place = ("purposes", name, "notice") if notice is not None else ("purposes", name)
        demand.missing(place, f"in the notice of '{name}': {', '.join(absent)}")


def _check_accounts(demand: _Demand, name: str) -> None:
    form, floor = demand.file.form.purposes[name], demand.pack.accounts
    admitted = floor.get(form.basis, floor.get("*"))
    if admitted is None:
        return
    place: Place = ("purposes", name, "accounts")
    words = f"{demand.name} admits only the account states {', '.join(admitted)} for the basis {form.basis}"
    if form.accounts == "any":
        demand.file.error(place, "loosens", words)
        return
    for index, state in enumerate(form.accounts):
        if state not in admitted:
            demand.file.error((*place, index), "loosens", words)
