"""What a program returned -> what `pyfunc.predict` gives, which any server can write as JSON. Pure."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

import dspy
import pydantic


def plain(value: Any) -> Any:
    """Predictions as dicts of their fields, pydantic objects as dicts, enum members as values."""
    if isinstance(value, dspy.Example):
        return {name: plain(field) for name, field in value.items(include_dspy=True)}
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple, set)) else value
