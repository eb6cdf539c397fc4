"""What all benchmarks share: figures as text, and what they depend on."""

import datetime
import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("mlflow", "dspy", "mlflow-dspy-plugin")


def surroundings(*more_packages: str, **given: Any) -> dict[str, Any]:
    """The date, the machine and the versions; a package that is not installed has the version None."""
    versions = {name: _version_of(name) for name in (*PACKAGES, *more_packages)}
    date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    return {"date": date, "python": platform.python_version(), **versions, "cores": os.cpu_count(), **given}


def headline(about: dict[str, Any]) -> str:
    """The surroundings as one line."""
    return ", ".join(f"{name} {value}" for name, value in about.items())


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as columns of text; the first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def summary(values: Sequence[float]) -> str:
    """A median, with the lowest and the highest in brackets."""
    return with_range(statistics.median(values), min(values), max(values))


def with_range(middle: float, low: float, high: float) -> str:
    """A figure, with a range in brackets where it has one."""
    shown = [_number(value) for value in (middle, low, high)]
    return shown[0] if shown[1] == shown[2] else f"{shown[0]} [{shown[1]} .. {shown[2]}]"


def ratio(ours: float, theirs: float) -> str:
    """How often one goes into the other."""
    return f"{ours / theirs:.2f}" if theirs else "-"


def _number(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.3f}"


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
