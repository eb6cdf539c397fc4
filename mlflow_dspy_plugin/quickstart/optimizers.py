"""The optimizers that the quickstart can run, with settings that end within seconds on its own LM."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dspy


@dataclass(frozen=True)
class Recipe:
    """How one optimizer is built and called.

    Attributes:
        build: Makes the optimizer for a metric.
        compile: What its `compile` gets beside the program and the training set.
    """

    build: Callable[[Callable], Any]
    compile: Mapping[str, Any] = field(default_factory=dict)


def _simba(metric: Callable) -> Any:
    return dspy.SIMBA(
        metric=metric,
        bsize=30,
        max_demos=10,
        max_steps=10,
        num_candidates=6,
        num_threads=1,
        # Lower than SIMBA's own: lessons build on the best candidates instead of on all.
        temperature_for_candidates=0.05,
        temperature_for_sampling=0.1,
    )


def _random_search(metric: Callable) -> Any:
    return dspy.BootstrapFewShotWithRandomSearch(
        metric=metric, max_bootstrapped_demos=6, max_labeled_demos=12, num_candidate_programs=6, num_threads=1
    )


def _bootstrap(metric: Callable) -> Any:
    return dspy.BootstrapFewShot(metric=metric, max_bootstrapped_demos=6, max_labeled_demos=12)


def _labeled(metric: Callable) -> Any:
    return dspy.LabeledFewShot(k=12)


def _copro(metric: Callable) -> Any:
    return dspy.COPRO(metric=metric, breadth=3, depth=2)


def _gepa(metric: Callable) -> Any:
    def with_feedback(example, prediction, trace=None, pred_name=None, pred_trace=None):
        score = float(metric(example, prediction))
        return dspy.Prediction(score=score, feedback=f"The right label is {example.label!r}.")

    return dspy.GEPA(metric=with_feedback, max_metric_calls=400, reflection_lm=dspy.settings.lm, num_threads=1, seed=0)


RECIPES: Mapping[str, Recipe] = {
    "simba": Recipe(_simba),
    "bootstrap": Recipe(_bootstrap),
    "random-search": Recipe(_random_search),
    "labeled": Recipe(_labeled),
    "gepa": Recipe(_gepa),
    "copro": Recipe(_copro, {"eval_kwargs": {"num_threads": 1, "display_progress": False}}),
}


def compile_with(name: str, program: dspy.Module, metric: Callable, trainset: list[dspy.Example]) -> dspy.Module:
    """Compile a program with one of the `RECIPES`, by its name."""
    recipe = RECIPES[name]
    return recipe.build(metric).compile(program, trainset=trainset, **recipe.compile)
