"""`mlflow.models.evaluate(..., evaluators="dspy")`: DSPy's Evaluate over a logged program."""

import logging
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import dspy
import mlflow
import pandas as pd
from mlflow.entities import Metric
from mlflow.genai.scorers import Scorer
from mlflow.models.evaluation import EvaluationResult
from mlflow.models.evaluation.artifacts import JsonEvaluationArtifact

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import InputError, ScoringError
from mlflow_dspy_plugin.genai.metrics import metric as metric_of
from mlflow_dspy_plugin.programs.fields import Fields, fields_of
from mlflow_dspy_plugin.seams.batches import watch_batches
from mlflow_dspy_plugin.seams.handed_down import hand_down, inherited, take_back
from mlflow_dspy_plugin.seams.mlflow import implementation_of
from mlflow_dspy_plugin.serving.calls import call
from mlflow_dspy_plugin.serving.inputs import arguments_of, python_values, rows_of
from mlflow_dspy_plugin.serving.pyfunc import PyfuncModel
from mlflow_dspy_plugin.tracing.callback import AS_OTHERS
from mlflow_dspy_plugin.tracking.artifacts import safe_name
from mlflow_dspy_plugin.tracking.feedback import metric_name
from mlflow_dspy_plugin.tracking.plain_values import number
from mlflow_dspy_plugin.tracking.results import Results
from mlflow_dspy_plugin.tracking.rows import Rows

# Not by `boundary.warn`: while MLflow evaluates, it has autologging be silent.
_logger = logging.getLogger(__name__)
TABLE = "eval_results_table"
# What of the configuration is for `dspy.Evaluate`, and what for this evaluator.
_OF_EVALUATION = ("num_threads", "max_errors", "failure_score", "provide_traceback")
_OF_DISPLAY = ("display_progress", "display_table")
_FOR_EVALUATE = (*_OF_EVALUATION, *_OF_DISPLAY)
_FOR_US = ("metric", "metric_prefix", "col_mapping")
_TARGET = "target"
# Under this name the evaluation inherits what its rows are watched by.
_WATCHING = "watching"


def evaluate(
    *,
    dataset: Any,
    run_id: str,
    evaluator_config: Mapping[str, Any],
    model: Any = None,
    model_id: str | None = None,
    extra_metrics: Any = None,
    custom_artifacts: Any = None,
    **others: Any,
) -> EvaluationResult | None:
    """Evaluate a DSPy model by `dspy.Evaluate`, and log what MLflow's own evaluator would.

    Columns that are inputs of the program are its inputs; targets and other columns are what the metric finds beside
    them on the example; targets without a name are called `target`. Each row runs under the settings that the model was
    saved with.

    Args:
        dataset: MLflow's evaluation dataset.
        run_id: The run.
        evaluator_config: `metric`: a DSPy metric, or an MLflow scorer or judge. `num_threads`, `max_errors`,
            `failure_score`, `provide_traceback`, `display_progress` and `display_table` as for `dspy.Evaluate`.
            `metric_prefix`: stands before the names of metrics and of the table. `col_mapping`: input of the program ->
            column.
        model: A pyfunc model.
        model_id: Its id.
        extra_metrics: Are not computed, which is said.
        custom_artifacts: Are not made, which is said.
        others: What else MLflow gives.

    Returns:
        The metrics: `<metric>` is the score from 0 to 100 as DSPy tells it, in which rows that failed have the
        `failure_score`; `<metric>/mean`, `/variance` and `/p90` are of the scores of the others; `rows` and `failures`
        say how many there were. The artifact `eval_results_table`: one row each. None if what is evaluated is no DSPy
        model.

    Raises:
        InputError: If a row does not fit the program.
        ScoringError: If the configuration has keys that mean nothing, or there is no metric.
    """
    served = implementation_of(model)
    if not isinstance(served, PyfuncModel):
        _logger.warning(
            "The evaluator dspy was left out: what is evaluated is no DSPy model that is loaded in this process."
        )
        return None
    if extra_metrics or custom_artifacts:
        _logger.warning("The evaluator dspy leaves extra_metrics and custom_artifacts to MLflow's own: name it beside.")
    config = _checked(evaluator_config)
    metric, fields = config["metric"], fields_of(served.model)
    name, prefix = safe_name(metric_name(metric)) or "score", config.get("metric_prefix") or ""
    examples = examples_of(dataset, fields, config.get("col_mapping") or {})
    options = {key: config[key] for key in _FOR_EVALUATE if key in config}
    with dspy.context(**served.settings):
        score, rows = _evaluated(served.model, examples, metric, options, Rows(name, lambda: run_id, written=True))
    figures = {f"{prefix}{key}": value for key, value in _figures(name, score, rows).items()}
    _log_metrics(figures, run_id, model_id, dataset)
    uri = _log_table(rows, name, f"{prefix}{TABLE}.json", run_id)
    return EvaluationResult(metrics=figures, artifacts={TABLE: JsonEvaluationArtifact(uri=uri)}, run_id=run_id)


def examples_of(dataset: Any, fields: Fields, mapping: Mapping[str, str]) -> list[dspy.Example]:
    """The rows of MLflow's evaluation dataset as examples.

    Raises:
        InputError: If a row does not fit the program; names it.
    """
    features = dataset.features_data
    if isinstance(features, pd.DataFrame):
        features = features.rename(columns={column: name for name, column in mapping.items()})
    rows, targets = rows_of(features), dataset.labels_data
    label = dataset.targets_name or _TARGET
    return [
        _example(rows.at(place), fields, {} if targets is None else {label: python_values(targets[place])}, place)
        for place in range(rows.count)
    ]


def _example(row: Any, fields: Fields, targets: Mapping[str, Any], place: int) -> dspy.Example:
    beside: dict[str, Any] = {}
    if isinstance(row, Mapping) and fields.inputs is not None:
        beside = {name: value for name, value in row.items() if name not in fields.inputs}
        row = {name: value for name, value in row.items() if name in fields.inputs}
    try:
        args, inputs = arguments_of(row, fields)
    except InputError as error:
        raise InputError(f"Row {place}: {error.message}") from error
    if args:
        raise InputError(f"Row {place} is a bare value, and the names of the program's inputs are not known.")
    # As a dict: a field may be called "base".
    return dspy.Example({**beside, **targets, **inputs}).with_inputs(*inputs)


def _evaluated(
    program: Any, examples: list[Any], metric: Callable[..., Any], options: Mapping[str, Any], rows: Rows
) -> tuple[float | None, Results]:
    """The score and the rows, which are watched while they run."""
    # DSPy calls a program, and would not await it.
    called = program if hasattr(type(program), "forward") else lambda **inputs: call(program, (), inputs)
    evaluator = dspy.Evaluate(devset=examples, metric=metric, **options)
    watching = [rows.around]
    # Its own batch is the first in this context; others are those of the program.
    undo = watch_batches(lambda: watching.pop() if watching and inherited(_WATCHING) is watching else None)
    handed = hand_down(**{_WATCHING: watching})
    try:
        # Autologging would record it as an evaluation of its own.
        found = evaluator(called, callback_metadata={"disable_logging": True, AS_OTHERS: True})
    finally:
        take_back(handed)
        undo()
    return number(found.score), rows.of(found.results)


def _figures(name: str, score: float | None, rows: Results) -> dict[str, float]:
    scores = [found for row in rows.plain if row["error"] is None and (found := number(row["score"])) is not None]
    told = {names.METRIC_ROWS: len(rows), names.METRIC_FAILURES: rows.failures}
    if scores:
        spread = statistics.quantiles(scores, n=10, method="inclusive")[-1] if len(scores) > 1 else scores[0]
        told |= {
            f"{name}/mean": statistics.fmean(scores),
            f"{name}/variance": statistics.pvariance(scores),
            f"{name}/p90": spread,
        }
    return told if score is None else {**told, name: score}


def _log_metrics(figures: Mapping[str, float], run_id: str, model_id: str | None, dataset: Any) -> None:
    now = int(time.time() * 1000)
    about = {"model_id": model_id, "dataset_name": dataset.name, "dataset_digest": dataset.digest, "run_id": run_id}
    told = [Metric(key=key, value=value, timestamp=now, step=0, **about) for key, value in figures.items()]
    mlflow.MlflowClient().log_batch(run_id, metrics=told)


def _log_table(rows: Results, name: str, file: str, run_id: str) -> str:
    """Write one row for each example, in the column names of MLflow's own table; gives where it is."""
    table = [
        {
            **row["inputs"],
            **row["expected"],
            "outputs": row["prediction"],
            f"{name}/score": row["score"],
            f"{name}/justification": row["feedback"],
            **{key: row[key] for key in ("error", "trace_id", "seconds", "tokens")},
        }
        for row in rows.plain
    ]
    columns = dict.fromkeys(key for row in table for key in row)
    mlflow.MlflowClient().log_table(run_id, {key: [row.get(key) for row in table] for key in columns}, file)
    return f"{mlflow.get_run(run_id).info.artifact_uri}/{file}"


def _checked(config: Mapping[str, Any]) -> dict[str, Any]:
    known = (*_FOR_US, *_FOR_EVALUATE)
    if unknown := sorted(set(config) - set(known)):
        raise ScoringError(f"evaluator_config has {', '.join(unknown)}. The evaluator dspy takes {', '.join(known)}.")
    metric = config["metric"]
    if isinstance(metric, Scorer):
        metric = metric_of(metric)
    if not callable(metric):
        raise ScoringError(f"evaluator_config['metric'] is a {type(metric).__name__}. Give a metric or a scorer.")
    return {**config, "metric": metric}
