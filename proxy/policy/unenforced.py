"""Keys that are understood but that nothing enforces yet. Never accepted in silence."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.policy.files import Place, PolicyFile
from proxy.policy.mask_form import MaskForm
from proxy.policy.schema import ColumnForm


def check_enforcement(file: PolicyFile) -> None:
    """Reports every use of a key without enforcement as ``unenforced``."""
    for place, what in (*_limits(file), *_keys(file), *_hashes(file)):
        file.warning(place, "unenforced", f"{what} is not enforced by this version", key=True)


def _limits(file: PolicyFile) -> Iterator[tuple[Place, str]]:
    for index, limit in enumerate(file.form.bulk):
        for key in ("rows_per_statement", "rows_per_minute"):
            if getattr(limit, key) is not None:
                yield ("bulk", index, key), f"bulk.{key}"
    if file.form.exemptions:
        yield ("exemptions",), "exemptions"


def _keys(file: PolicyFile) -> Iterator[tuple[Place, str]]:
    for name, table in file.form.tables.items():
        for column, written in table.columns.items():
            if isinstance(written, ColumnForm) and written.json_:
                yield ("tables", name, "columns", column, "json"), "masking inside documents (json)"


def _hashes(file: PolicyFile) -> Iterator[tuple[Place, str]]:
    form = file.form
    written: list[tuple[Place, str | MaskForm | None]] = [(("masks", name), mask) for name, mask in form.masks.items()]
    written += [(("categories", name, "mask"), category.mask) for name, category in form.categories.items()]
    written += [(("rules", index, "mask"), rule.mask) for index, rule in enumerate(form.rules)]
    for name, table in form.tables.items():
        for column, entry in table.columns.items():
            if isinstance(entry, ColumnForm):
                written.append((("tables", name, "columns", column, "mask"), entry.mask))
    for place, mask in written:
        if mask == "hash" or (isinstance(mask, MaskForm) and mask.hash is not None):
            yield place, "the mask hash"
