"""The exceptions of this package, all of them MLflow's own kind.

::

    MlflowException
    └── DspyPluginError
        ├── DspyNotInstalledError   dspy cannot be imported (a ModuleNotFoundError too)
        ├── ProgramError            what was given is no program that can be saved
        ├── SettingError            what was given to autolog() cannot be used
        ├── InputError              an input does not fit the program
        ├── CallError               a program could not answer: its language model failed, or it raised
        ├── DeploymentError         a server of deployed models did not answer as it was asked to
        ├── DatasetError            examples, records or traces cannot be written or read
        ├── ComparisonError         two runs that cannot be compared
        ├── ScoringError            a metric, scorer or judge cannot be used, or gave no score
        ├── SecretError             a secret would have reached the disk
        ├── PromptError             a prompt cannot be registered, or does not fit the program
        ├── TrackingError           what was given to track_optimization() or compare() cannot be used
        └── ModelFolderError        a model folder is missing, damaged, foreign or too new
"""

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    BAD_REQUEST,
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    RESOURCE_DOES_NOT_EXIST,
)

from mlflow_dspy_plugin.redaction import redact_text


class DspyPluginError(MlflowException):
    """Base of every error that this package raises by itself."""

    code = BAD_REQUEST

    def __init__(self, message: str, code: int | None = None):
        # What others raised is quoted in some.
        super().__init__(redact_text(message), error_code=self.code if code is None else code)


class ProgramError(DspyPluginError):
    """What was given is no DSPy program, or one that cannot be saved as asked for."""

    code = INVALID_PARAMETER_VALUE


class SettingError(DspyPluginError):
    """What was given to `autolog` cannot be used."""

    code = INVALID_PARAMETER_VALUE


class InputError(DspyPluginError):
    """An input (or input example) does not fit the fields of the program."""

    code = INVALID_PARAMETER_VALUE


class CallError(DspyPluginError):
    """A served program could not answer, because its language model failed or because it raised.

    Its `error_code` tells which: UNAUTHENTICATED, REQUEST_LIMIT_EXCEEDED, DEADLINE_EXCEEDED, TEMPORARILY_UNAVAILABLE
    and BAD_REQUEST for what the language model said; INTERNAL_ERROR for all else.
    """

    code = INTERNAL_ERROR


class DeploymentError(DspyPluginError):
    """A server of deployed models answered with an error or not at all, or cannot do what it was asked to.

    Its `error_code` is the server's, or the one that the status of its answer stands for.
    """

    code = INTERNAL_ERROR


class DatasetError(DspyPluginError):
    """Examples, records or traces cannot be used: one of them is no such thing, or holds what cannot be written."""

    code = INVALID_PARAMETER_VALUE


class ComparisonError(DspyPluginError):
    """Two runs cannot be compared: one is unknown or has no rows, or they have no example in common."""

    code = INVALID_PARAMETER_VALUE


class ScoringError(DspyPluginError):
    """A metric, scorer or judge cannot be used, or gave no score for an item, which is named."""

    code = INVALID_PARAMETER_VALUE


class SecretError(DspyPluginError):
    """Saving was stopped, because a secret that cannot be left out would have been written."""

    code = INVALID_PARAMETER_VALUE


class PromptError(DspyPluginError):
    """A predictor cannot stand in MLflow's prompt registry, or a prompt from there does not fit the program."""

    code = INVALID_PARAMETER_VALUE


class TrackingError(DspyPluginError):
    """What was given to `track_optimization` or `compare` cannot be used."""

    code = INVALID_PARAMETER_VALUE


class ModelFolderError(DspyPluginError):
    """A model folder is missing, half written, of another flavor or of a newer format."""

    code = RESOURCE_DOES_NOT_EXIST


class DspyNotInstalledError(DspyPluginError, ModuleNotFoundError):
    """DSPy support was used where dspy is not installed."""

    def __init__(self):
        super().__init__(
            "mlflow.dspy was used, but the package dspy is not installed here. "
            "Install it with: pip install 'dspy>=3.0.3'"
        )
        self.name = "dspy"
