"""What a mask of the file means: built-in names, named masks, masks with parameters."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.masks import Mask
from proxy.policy.diagnostic import did_you_mean
from proxy.policy.schema import MaskForm

BUILT_IN = frozenset(
    {"phone", "id_card", "name", "email", "bank_card", "address", "redact", "nullify", "year", "month", "hash"}
)
WITH_PARAMETERS = frozenset({"partial", "range", "constant"})
HASH_LENGTH = 16
FILL_LENGTH = 4
"""However much is hidden, the fill has this length, so that a value's length does not show."""


class BadMask(Exception):
    """A mask that means nothing. ``code`` is the diagnostic's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


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
        raise BadMask("unknown-mask", f"the mask '{written}' needs parameters, such as {_EXAMPLES[written]}")
    raise BadMask("unknown-mask", f"there is no mask '{written}'{did_you_mean(written, {*BUILT_IN, *named})}")


_EXAMPLES = {
    "partial": "{partial: {keep_last: 4}}",
    "range": "{range: {step: 100}}",
    "constant": "{constant: {value: '-'}}",
}


def _with_parameters(form: MaskForm) -> Mask:
    if len(form.model_fields_set) != 1:
        raise BadMask("conflict", "a mask is exactly one of partial, range, constant, hash")
    if form.partial is not None:
        keeps = form.partial.keep_first + form.partial.keep_last
        least = form.partial.min_length
        if least is not None and least <= keeps:
            raise BadMask("conflict", f"min_length must be more than the {keeps} characters that show")
        fill = form.partial.fill * FILL_LENGTH
        return Mask("partial", form.partial.keep_first, form.partial.keep_last, fill, least)
    if form.range is not None:
        return Mask("range", step=form.range.step)
    if form.constant is not None:
        return Mask("constant", value=form.constant.value)
    if form.hash is not None:
        return Mask("hash", length=form.hash.length)
    raise BadMask("conflict", "a mask with parameters needs its parameters")
