"""What a mask of the file means: built-in names, named masks, masks with parameters."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.masks import Mask
from proxy.policy.diagnostic import did_you_mean
from proxy.policy.mask_form import MaskForm

BUILT_IN = frozenset(
    {"phone", "id_card", "name", "email", "bank_card", "address", "redact", "nullify", "year", "month", "hash"}
)
WITH_PARAMETERS = frozenset({"partial", "range", "constant"})
HASH_LENGTH = 16
FILL_LENGTH = 4
"""However much is hidden, the fill has this length, so that a value's length does not show."""


class BadMask(Exception):
    """There is no such mask."""


def read_mask(written: str | MaskForm, named: Mapping[str, Mask | None]) -> Mask | None:
    """The mask that was written; None where it names one that is itself wrong. Raises :class:`BadMask`."""
    if isinstance(written, MaskForm):
        return _with_parameters(written)
    if written in named:
        return named[written]
    if written == "hash":
        return Mask("hash", length=HASH_LENGTH)
    if written in BUILT_IN:
        return Mask(written)
    if written in WITH_PARAMETERS:
        raise BadMask(f"the mask '{written}' needs parameters, such as {_EXAMPLES[written]}")
    raise BadMask(f"there is no mask '{written}'{did_you_mean(written, {*BUILT_IN, *named})}")


_EXAMPLES = {
    "partial": "{partial: {keep_last: 4}}",
    "range": "{range: {step: 100}}",
    "constant": "{constant: {value: '-'}}",
}


def _with_parameters(form: MaskForm) -> Mask:
    """The format admits exactly one of them."""
    if form.partial is not None:
        partial = form.partial
        return Mask("partial", partial.keep_first, partial.keep_last, partial.fill * FILL_LENGTH, partial.min_length)
    if form.range is not None:
        return Mask("range", step=form.range.step)
    if form.constant is not None:
        return Mask("constant", value=form.constant.value)
    return Mask("hash", length=HASH_LENGTH if form.hash is None else form.hash.length)
