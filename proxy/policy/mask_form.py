"""Masks as the policy file writes them."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import ConfigDict, Discriminator, Field, StrictStr, Tag, model_validator

from proxy.policy.form import Form, conflict, text_or_mapping
from proxy.policy.values import Scalar


class PartialMask(Form):
    """The first and last characters show, a fill stands for the rest whatever its length."""

    keep_first: int = Field(default=0, ge=0, le=1000)
    """How many characters show at the start."""
    keep_last: int = Field(default=0, ge=0, le=1000)
    """How many characters show at the end."""
    fill: str = Field(default="*", min_length=1, max_length=1)
    """The character that hides; four of them stand for whatever is hidden."""
    min_length: int | None = Field(default=None, ge=1, le=10_000)
    """A shorter value is hidden whole. Default: keep_first + keep_last + 4."""

    @model_validator(mode="after")
    def _hides_something(self) -> Self:
        if self.min_length is not None and self.min_length <= self.keep_first + self.keep_last:
            raise conflict("min_length must be more than the characters that show", "min_length")
        return self


class RangeMask(Form):
    """A number is cut down to a multiple of the step."""

    step: int = Field(ge=1, le=10**12)
    """The size of a range."""


class ConstantMask(Form):
    """One value for all cells."""

    value: Scalar
    """The value, in the column's type."""


class HashMask(Form):
    """A keyed pseudonym in hex (HMAC-SHA-256). The key never stands in a policy."""

    length: int = Field(default=16, ge=8, le=64)
    """Hex digits."""


class MaskForm(Form):
    """A mask with parameters: exactly one of the keys."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    partial: PartialMask | None = None
    """First and last characters show."""
    range: RangeMask | None = None
    """Numbers cut down to a multiple."""
    constant: ConstantMask | None = None
    """One value for all cells."""
    hash: HashMask | None = None
    """A keyed pseudonym. Not enforced yet."""

    @model_validator(mode="after")
    def _is_one_mask(self) -> Self:
        if len(self.model_dump(exclude_none=True)) != 1:
            raise conflict("a mask is exactly one of partial, range, constant, hash")
        return self


MaskRef = Annotated[
    Annotated[StrictStr, Tag("~text")] | Annotated[MaskForm, Tag("~mapping")],
    Discriminator(text_or_mapping),
]
