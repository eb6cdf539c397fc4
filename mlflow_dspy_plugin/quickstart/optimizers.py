"""The optimizers that the quickstart can run, with settings that end within seconds on its own LM."""

from collections.abc import Callable, Mapping
from typing import Any

import dspy


def _simba(metric: Callable, rows: int) -> Any:
    return dspy.SIMBA(
        metric=metric,
        bsize=min(30, rows),
        max_demos=10,
        max_steps=10,
        num_candidates=6,
        num_threads=1,
        # Lower than SIMBA's own: lessons build on the best candidates instead of on all.
        temperature_for_candidates=0.05,
        temperature_for_sampling=0.1,
    )


def _random_search(metric: Callable, rows: int) -> Any:
    return dspy.BootstrapFewShotWithRandomSearch(
        metric=metric, max_bootstrapped_demos=6, max_labeled_demos=12, num_candidate_programs=6, num_threads=1
    )


def _bootstrap(metric: Callable, rows: int) -> Any:
    return dspy.BootstrapFewShot(metric=metric, max_bootstrapped_demos=6, max_labeled_demos=12)


def _labeled(metric: Callable, rows: int) -> Any:
    return dspy.LabeledFewShot(k=12)


def _gepa(metric: Callable, rows: int) -> Any:
    def with_feedback(example, prediction, trace=None, pred_name=None, pred_trace=None):
        score = float(metric(example, prediction))
        return dspy.Prediction(score=score, feedback=f"The right label is {example.label!r}.")

    return dspy.GEPA(metric=with_feedback, max_metric_calls=400, reflection_lm=dspy.settings.lm, num_threads=1, seed=0)


# Each makes an optimizer for a metric and a number of training rows.
RECIPES: Mapping[str, Callable[[Callable, int], Any]] = {
    "simba": _simba,
    "bootstrap": _bootstrap,
    "random-search": _random_search,
    "labeled": _labeled,
    "gepa": _gepa,
}


def compile_with(name: str, program: dspy.Module, metric: Callable, trainset: list[dspy.Example]) -> dspy.Module:
    """Compile a program with one of the `RECIPES`, by its name."""
    return RECIPES[name](metric, len(trainset)).compile(program, trainset=trainset)
