"""The fields of many rows -> MLflow's schema of them, seen one by one."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Schema

# Examples made of tables that are turned the wrong way have a name of their own each.
MOST_COLUMNS = 1_000
_LONGEST_NAME = 250
_PLAIN = {
    str: DataType.string,
    int: DataType.long,
    float: DataType.double,
    bool: DataType.boolean,
    bytes: DataType.binary,
}
_NUMBERS = (DataType.long, DataType.double)


class Columns:
    """The types of the fields that were seen.

    Attributes:
        rows: How many rows were seen.
        uncounted: In how many rows a field was that is not in the schema, because there are too many.
    """

    def __init__(self) -> None:
        self.rows = self.uncounted = 0
        # None: no value was seen yet that has a type.
        self._types: dict[str, Any] = {}
        self._filled: Counter[str] = Counter()

    def add(self, fields: Mapping[str, Any]) -> None:
        """See the fields of a row."""
        self.rows += 1
        for name, value in fields.items():
            if name not in self._types and (len(self._types) >= MOST_COLUMNS or len(name) > _LONGEST_NAME):
                self.uncounted += 1
                continue
            known = self._types.get(name)
            self._types[name] = known if value is None else _common(known, _type_of(value))
            self._filled[name] += value is not None

    def __contains__(self, name: str) -> bool:
        return name in self._types

    @property
    def names(self) -> list[str]:
        """The fields of the schema, in the order in which they were seen."""
        return list(self._types)

    def schema(self) -> Schema | None:
        """The schema: a field is required that no row is without."""
        columns = [
            ColSpec(AnyType() if type_ is None else type_, name=name, required=self._filled[name] == self.rows)
            for name, type_ in self._types.items()
        ]
        return Schema(columns) if columns else None


def _type_of(value: Any) -> Any:
    """The type of a value, as far as MLflow has one."""
    if type(value) is not list:
        return _PLAIN.get(_kind_of(value), AnyType())
    items = {_PLAIN.get(kind) for kind in set(map(_kind_of, value))}
    item = items.pop() if len(items) == 1 else DataType.double if items == set(_NUMBERS) else None
    return AnyType() if item is None else Array(item)


def _kind_of(value: Any) -> type:
    """Python's type; that of a row of a table is numpy's."""
    return type(value.item() if isinstance(value, np.generic) else value)


def _common(known: Any, seen: Any) -> Any:
    if known is None or known == seen:
        return seen
    return DataType.double if known in _NUMBERS and seen in _NUMBERS else AnyType()
