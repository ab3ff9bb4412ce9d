"""What all mappings of the policy and configuration files have in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from proxy.policy.document import Map

TAG = "~"
"""Tags of unions begin with it, so that they can be told from keys of the file in an error's place."""


CONFLICT = "conflict"
"""The type of errors about keys that are right by themselves and wrong together."""


def text_or_mapping(value: Any) -> str:
    return "~text" if isinstance(value, str) else "~mapping"


def text_or_list(value: Any) -> str:
    return "~text" if isinstance(value, str) else "~list"


class Form(BaseModel):
    """A mapping of the file. Keys it does not have are noted in the validation's context with the keys it has."""

    model_config = ConfigDict(strict=True, extra="forbid", use_attribute_docstrings=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _note_unknown_keys(cls, data: Any, info: ValidationInfo) -> Any:
        if isinstance(data, Map) and info.context is not None:
            known = sorted(field.alias or name for name, field in cls.model_fields.items())
            info.context.extend((data.key_at[key], key, known) for key in data if key not in known)
        return data


def conflict(message: str, key: str = "") -> PydanticCustomError:
    """Keys that cannot stand together; ``key`` is the one to blame, if one is."""
    return PydanticCustomError(CONFLICT, "{reason}", {"reason": message, "key": key})
