"""`mlflow.deployments`: what MLflow asks of a deployment target, which here is a server of this package.

MLflow takes the one class of this module that is a client, and calls its two functions by name.
"""

import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from mlflow.deployments import BaseDeploymentClient, PredictionsResponse
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, NOT_IMPLEMENTED, RESOURCE_DOES_NOT_EXIST

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import DeploymentError

_FLAVORS = (None, names.FLAVOR, "python_function")


def run_local(name: str, model_uri: str, flavor: str | None = None, config: dict[str, Any] | None = None) -> None:
    """Serve a model from this process until it is told to end, by SIGTERM or Ctrl-C.

    Args:
        name: The name that requests call it by.
        model_uri: Where it is; a registered model by an alias (`models:/qa@prod`) is loaded again when the alias moves.
        flavor: `dspy`, which is the default.
        config: Settings of the server; see `target_help`.

    Raises:
        DeploymentError: If the flavor is another.
        SettingError: If a setting cannot be used, or others could reach the server without a key.
        ModelFolderError: If there is no such model.
    """
    if flavor not in _FLAVORS:
        raise DeploymentError(
            f"The flavor is {flavor!r}, but this target serves DSPy programs. Leave it out.", INVALID_PARAMETER_VALUE
        )
    # All that serves is heavy, and a client needs none of it.
    from mlflow_dspy_plugin.server.process import serve
    from mlflow_dspy_plugin.server.settings import from_config

    serve(from_config(name, model_uri, config))


def target_help() -> str:
    """What `mlflow deployments help -t dspy` prints."""
    from mlflow_dspy_plugin.server.manual import manual

    return manual()


class DspyDeploymentClient(BaseDeploymentClient):
    """Asks a server that `mlflow deployments run-local -t dspy` or a container has started.

    A server serves what it was started with, so `create_deployment`, `update_deployment` and `delete_deployment` raise.
    Wherever a deployment is named, `endpoint` may name it as well, as in MLflow's other clients.

    Args:
        target_uri: `dspy:http://host:port`, or `dspy` alone for a server on this machine with the default port. The key
            it asks for is read from the environment variable MLFLOW_DSPY_API_KEY.
    """

    def __init__(self, target_uri: str) -> None:
        from mlflow_dspy_plugin.server.client import DEFAULT_URL, ServerClient

        super().__init__(target_uri)
        url = target_uri.partition(":")[2] or DEFAULT_URL
        self._server = ServerClient(url, os.environ.get(names.ENV_API_KEY, "").strip() or None)

    def predict(
        self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None
    ) -> PredictionsResponse:
        """Ask a served model.

        Args:
            deployment_name: Its name; of a server with one model it may be left out.
            inputs: What `mlflow.pyfunc`'s `predict` takes: a DataFrame, a list, a dict of the program's fields, a bare
                value. Or a whole body of a request, with one of the keys `inputs`, `dataframe_records`,
                `dataframe_split`, `instances`, `messages` or `input`, and params beside it.
            endpoint: Its name as well.

        Returns:
            The answer: a dict with `predictions`; to `messages` or `input` a chat completion or a response.

        Raises:
            DeploymentError: With what the server says, if it does not answer or answers with an error.
        """
        from mlflow_dspy_plugin.server.payloads import payload_of

        answer = self._server.post(_invocations(deployment_name or endpoint), payload_of(inputs))
        return PredictionsResponse(answer if isinstance(answer, dict) else {"predictions": answer})

    def predict_stream(
        self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """Ask a served model, and get its answer while it is made; see `predict`.

        Yields:
            What `mlflow.pyfunc`'s `predict_stream` yields. Whoever stops early ends the call of the language model.
        """
        from mlflow_dspy_plugin.server.payloads import payload_of

        body = {**payload_of(inputs), "stream": True}
        return self._server.stream(_invocations(deployment_name or endpoint), body)

    def list_deployments(self, endpoint: str | None = None) -> list[dict[str, Any]]:
        """The served models: `name`, and what else the server tells of each."""
        return [{"name": each["id"], **each} for each in self._server.get("/v1/models")["data"]]

    def get_deployment(self, name: str, endpoint: str | None = None) -> dict[str, Any]:
        """A served model.

        Raises:
            DeploymentError: If there is none of that name.
        """
        served = {each["name"]: each for each in self.list_deployments()}
        if name not in served:
            raise DeploymentError(
                f"The server at {self._server.url} has no model {name!r}; it has {', '.join(map(repr, served))}.",
                RESOURCE_DOES_NOT_EXIST,
            )
        return served[name]

    def create_deployment(
        self,
        name: str,
        model_uri: str,
        flavor: str | None = None,
        config: dict[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Not to be had: a server serves what it was started with."""
        raise _refused(f"start one that serves it: mlflow deployments run-local -t dspy --name {name} -m {model_uri}")

    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: dict[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> None:
        """Not to be had: a server serves what it was started with."""
        raise _refused("serve a registered model by an alias (-m models:/<name>@<alias>), and move the alias")

    def delete_deployment(self, name: str, config: dict[str, Any] | None = None, endpoint: str | None = None) -> None:
        """Not to be had: a server serves what it was started with."""
        raise _refused("end its process (SIGTERM), which first answers the requests under way")


def _invocations(name: str | None) -> str:
    return f"/models/{quote(name, safe='')}/invocations" if name else "/invocations"


def _refused(instead: str) -> DeploymentError:
    return DeploymentError(f"A running server serves what it was started with. Instead, {instead}.", NOT_IMPLEMENTED)
