"""`mlflow.model_evaluator`: the evaluator `dspy` of `mlflow.models.evaluate`; it stands back without a metric."""

from typing import Any

from mlflow.models.evaluation.base import EvaluationResult, ModelEvaluator

from mlflow_dspy_plugin import discovery


class DspyEvaluator(ModelEvaluator):
    """Runs `dspy.Evaluate` over a logged program."""

    @classmethod
    def can_evaluate(cls, *, model_type: str | None, evaluator_config: dict[str, Any] | None, **kwargs: Any) -> bool:
        """Whether a metric is given, which is what asks for it.

        If no evaluator is named, MLflow tries all that can, its own too, with the same configuration. If this one is
        named and has no metric, MLflow says that none could evaluate. It does not tell which are named.

        Args:
            model_type: Any.
            evaluator_config: Has `metric`.
            kwargs: What MLflow may add.
        """
        return discovery.is_switched_on() and "metric" in (evaluator_config or {})

    def evaluate(self, **kwargs: Any) -> EvaluationResult | None:
        """Evaluate a model; see `mlflow_dspy_plugin.genai.evaluator.evaluate`.

        Args:
            kwargs: What MLflow gives to an evaluator.

        Returns:
            The metrics and the table; None for a model that is no DSPy program.
        """
        # Loading an entry point must not import dspy.
        from mlflow_dspy_plugin.genai.evaluator import evaluate

        return evaluate(**kwargs)
