"""`mlflow.dataset_constructor` and `mlflow.dataset_source`: both are loaded during `import mlflow`.

MLflow reads the annotations of the constructor as they are, so there is no `from __future__ import annotations` here;
and it forgives nothing but an ImportError or AttributeError of a source.
"""

from collections.abc import Iterable
from typing import Any

from mlflow.data.dataset import Dataset

try:
    from mlflow_dspy_plugin.genai.dataset_source import DspyDatasetSource
except Exception as cause:
    raise ImportError(f"mlflow-dspy-plugin is broken ({type(cause).__name__}: {cause}); reinstall it") from cause

__all__ = ["DspyDatasetSource", "from_dspy"]


def from_dspy(
    examples: Iterable[Any], name: str | None = None, digest: str | None = None, on_error: str = "raise"
) -> Dataset:
    """Make a dataset of DSPy's examples, for `mlflow.log_input(dataset, context="training")`.

    The rows are written to the run as an artifact, one of JSON a line, and come back as the same examples:
    `mlflow.data.get_source(run.inputs.dataset_inputs[0]).load()`. They are read once, one by one, so that there may be
    more of them than memory holds.

    Args:
        examples: Objects of `dspy.Example`, in a list or in anything that can be iterated; with or without inputs, of
            the same or of different fields. Those of a subclass come back as `dspy.Example`.
        name: The name of the dataset, up to 500 characters.
        digest: A digest of your own, up to 36 characters; else 32 that are the same for equal examples with the same
            inputs in the same order, in whatever order their fields are. In an experiment MLflow takes datasets of one
            name and digest for one: change yours with the rows.
        on_error: "raise", or "skip" to leave out the examples that cannot be written; the profile counts them.

    Returns:
        A dataset with a schema, and a profile that says which fields are inputs.

    Raises:
        DatasetError: If an example is no `dspy.Example`, or holds what cannot be written as data; it says which.
        SecretError: If a text in an example looks like a secret.
        DspyNotInstalledError: If DSPy is not installed.
    """
    try:
        from mlflow_dspy_plugin.genai.datasets import DspyDataset
    except ModuleNotFoundError as error:
        if error.name != "dspy":
            raise
        from mlflow_dspy_plugin.errors import DspyNotInstalledError

        raise DspyNotInstalledError() from None
    return DspyDataset(examples, name, digest, on_error)
