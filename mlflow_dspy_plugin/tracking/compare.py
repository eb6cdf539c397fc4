"""`mlflow.dspy.compare`: two runs, example by example."""

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from mlflow_dspy_plugin.errors import ComparisonError
from mlflow_dspy_plugin.tracking.bootstrap import Difference, paired_difference
from mlflow_dspy_plugin.tracking.pairs import Pair, Pairs, Row, pair_rows
from mlflow_dspy_plugin.tracking.report.comparison import comparison_page, interval, verdict
from mlflow_dspy_plugin.tracking.run_rows import RunRows, rows_of

_RESAMPLES = 10_000
_FRAME = (
    '<iframe srcdoc="{}" sandbox="" style="width:100%;height:720px;border:0" title="Comparison of two runs"></iframe>'
)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two runs on the examples that both have.

    Scores are DSPy's, in percent, and are over the examples that both runs have scored: they differ from the runs' own
    where one has examples that the other has not. A notebook shows the page.

    Attributes:
        run_a: The id of the first run.
        run_b: The id of the second.
        names: What the two are called.
        score_a: The first's score.
        score_b: The second's.
        difference: By how many points the second is better.
        interval: The 95% interval of the difference, of a paired bootstrap; None of fewer than ten examples.
        resamples: How many resamples that took.
        won: Examples that score higher in the second.
        lost: Examples that score lower in the second.
        same: Examples that score the same.
        unscored: Examples that one of the two has no score for.
        only_a: Rows of the first whose examples the second has not.
        only_b: Rows of the second whose examples the first has not.
    """

    run_a: str
    run_b: str
    names: tuple[str, str]
    score_a: float | None
    score_b: float | None
    difference: float | None
    interval: tuple[float, float] | None
    resamples: int
    won: tuple[Pair, ...] = field(repr=False)
    lost: tuple[Pair, ...] = field(repr=False)
    same: tuple[Pair, ...] = field(repr=False)
    unscored: tuple[Pair, ...] = field(repr=False)
    only_a: tuple[Row, ...] = field(repr=False)
    only_b: tuple[Row, ...] = field(repr=False)
    _pairs: Pairs = field(repr=False)
    _difference: Difference = field(repr=False)

    @property
    def table(self) -> pd.DataFrame:
        """All examples, a row each, with what became of them and what both runs have of them."""
        outcomes = ("won", "lost", "same", "unscored")
        became = {id(each): outcome for outcome in outcomes for each in getattr(self, outcome)}
        rows = [_table_row(became[id(pair)], pair.id, pair.a, pair.b, pair) for pair in self._pairs.both]
        rows += [_table_row("only in a", str(row.get("id")), row, {}) for row in self.only_a]
        rows += [_table_row("only in b", str(row.get("id")), {}, row) for row in self.only_b]
        return pd.DataFrame(rows).set_index("id")

    def page(self) -> str:
        """A self-contained HTML page."""
        return comparison_page(self.names, self._pairs, self._difference)

    def save(self, path: str | Path) -> Path:
        """Write the page to a file; returns its path."""
        path = Path(path)
        path.write_text(self.page(), encoding="utf-8")
        return path

    def _repr_html_(self) -> str:
        # In a frame of its own: the page's style would else be the notebook's.
        return _FRAME.format(html.escape(self.page()))

    def __str__(self) -> str:
        counts = f"{len(self.won)} won, {len(self.lost)} lost, {len(self.same)} the same"
        sure = f" ({interval(self._difference)}, {self.resamples:,} resamples)" if self.interval else ""
        return f"{verdict(self.names, self._difference)}{sure}: {counts}."


def compare(
    run_a: str | Run, run_b: str | Run, *, tracking_uri: str | None = None, resamples: int = _RESAMPLES, seed: int = 0
) -> Comparison:
    """Compare two runs of `dspy.Evaluate` or of a compile, example by example.

    Args:
        run_a: The id of a run or the run: of an evaluation (the last, where it has several), or of a compile, whose
            best candidate is meant then.
        run_b: The run to compare it with; what it has better is won.
        tracking_uri: The store of the runs, where that is not the current one.
        resamples: How many resamples the interval is made of.
        seed: Of the resamples: the same runs give the same interval.

    Returns:
        The comparison: scores in percent, who has won which example, a table, and a page that a notebook shows.

    Raises:
        ComparisonError: A run is unknown or has no rows, or the two have no example in common.
    """
    if not isinstance(resamples, int) or resamples < 1:
        raise ComparisonError(f"resamples is {resamples!r}. Give a whole number of at least 1, such as {_RESAMPLES}.")
    client = MlflowClient(tracking_uri)
    a, b = rows_of(run_a, client), rows_of(run_b, client)
    pairs = _paired(a, b)
    scores_a, scores_b = ([getattr(pair, side) for pair in pairs.scored] for side in ("score_a", "score_b"))
    difference = paired_difference(scores_a, scores_b, resamples=resamples, seed=seed)
    names = (a.name, b.name) if a.name != b.name else (f"{a.name} ({a.run_id[:8]})", f"{b.name} ({b.run_id[:8]})")
    told = {name: getattr(difference, name) for name in ("score_a", "score_b", "difference", "interval", "resamples")}
    sides = {name: getattr(pairs, name) for name in ("won", "lost", "same", "unscored", "only_a", "only_b")}
    return Comparison(a.run_id, b.run_id, names, **told, **sides, _pairs=pairs, _difference=difference)


def _paired(a: RunRows, b: RunRows) -> Pairs:
    if a.by_fields != b.by_fields:
        a, b = a.identified_by_fields(), b.identified_by_fields()
    pairs = pair_rows(a.rows, b.rows)
    if not pairs.both:
        raise ComparisonError(
            f"The runs {a.run_id} ({a.name}, {len(a.rows)} rows in {a.file}) and {b.run_id} ({b.name}, {len(b.rows)} "
            f"rows in {b.file}) have no example in common. Evaluate both on the same devset."
        )
    return pairs


def _table_row(outcome: str, example: str, a: Row, b: Row, pair: Pair | None = None) -> dict[str, Any]:
    known = b or a
    row = {"id": example, "outcome": outcome, "score_a": a.get("score"), "score_b": b.get("score")}
    row["change"] = pair.change if pair is not None else None
    for kind in ("inputs", "expected"):
        row |= {f"{kind}.{name}": value for name, value in (known.get(kind) or {}).items()}
    for side, held in (("a", a), ("b", b)):
        prediction = held.get("prediction")
        # A program may return what has no fields.
        named = prediction if isinstance(prediction, Mapping) else {"value": prediction}
        row |= {f"prediction_{side}.{name}": value for name, value in named.items() if prediction is not None}
        row |= {f"{key}_{side}": held.get(key) for key in ("error", "trace_id")}
    return row
