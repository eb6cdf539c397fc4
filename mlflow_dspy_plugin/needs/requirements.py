"""What a model needs installed, found without running it."""

from typing import Any

from mlflow_dspy_plugin.names import DISTRIBUTION
from mlflow_dspy_plugin.needs.modules import Needs
from mlflow_dspy_plugin.seams.mlflow import conda_env_of, pinned_requirement

# What the flavor itself needs; MLflow adds itself.
_ALWAYS = ("dspy", DISTRIBUTION, "cloudpickle")


def get_default_pip_requirements() -> list[str]:
    """Give the pip requirements that every model of this flavor has, pinned as installed here.

    It stands for `mlflow.dspy.save.get_default_pip_requirements`.

    Returns:
        One line for each package, such as "dspy==3.4.1".
    """
    return [pinned_requirement(distribution) for distribution in _ALWAYS]


def get_default_conda_env() -> dict[str, Any]:
    """Give the conda environment that every model of this flavor has at least.

    It stands for `mlflow.dspy.save.get_default_conda_env`.

    Returns:
        What MLflow writes as `conda.yaml`: its name, channels and dependencies.
    """
    return conda_env_of(additional_pip_deps=get_default_pip_requirements())


def requirements_of(needs: Needs) -> list[str]:
    """The default requirements, and the packages that the program's own code imports."""
    always = get_default_pip_requirements()
    return [*always, *sorted({*needs.packages.values()} - {*always})]
