"""The models that are served: each loaded from its folder, and found by its name."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.packaging.load import read_folder
from mlflow_dspy_plugin.packaging.mlmodel import download, registered_version
from mlflow_dspy_plugin.programs.keys import warn_of_missing_keys, with_keys_of_here
from mlflow_dspy_plugin.seams.input_check import read_dicts_as_rows
from mlflow_dspy_plugin.seams.invocations import Invocations
from mlflow_dspy_plugin.seams.responses import serve_agent
from mlflow_dspy_plugin.serving.chat import Chat
from mlflow_dspy_plugin.serving.following import FollowingModel, following_prompts
from mlflow_dspy_plugin.serving.pyfunc import PyfuncModel
from mlflow_dspy_plugin.serving.responses import Agent


@dataclass(frozen=True)
class ServedModel:
    """A model that answers.

    Attributes:
        name: What it is served as.
        uri: Where it was said to be.
        version: Its version in the registry, else its id, if it has one.
        folder: Where it lies here.
        task: What it was logged for, if that was said.
        metadata: Its MLmodel file.
        invocations: Reads requests in MLflow's protocol.
        pyfunc: Answers those.
        chat: Answers requests for a chat completion.
        agent: Answers requests for a response.
        prompts: Follows the prompts of MLflow's registry that its program says, if it does.
        loaded_at: When, in seconds since the epoch.
        files: What the folder is in; nobody else has it, and it goes once nobody has this model any more.
    """

    name: str
    uri: str
    version: str | None
    folder: Path
    task: str | None
    metadata: Model
    invocations: Invocations
    pyfunc: Any
    chat: Chat
    agent: Agent
    prompts: FollowingModel | None
    loaded_at: int
    files: "tempfile.TemporaryDirectory[str]"


def load_model(name: str, uri: str) -> ServedModel:
    """Load a model. It takes its time: not for an event loop.

    Raises:
        ModelFolderError: If there is none, or it cannot be loaded.
        PromptError: If the registry does not have the prompts that it is to follow, or they do not fit.
    """
    # Into a folder of its own: MLflow would leave what it downloads to whoever asked for it.
    files = tempfile.TemporaryDirectory(prefix="mlflow-dspy-model-", ignore_cleanup_errors=True)
    folder = download(uri, files.name)
    loaded = read_folder(folder)
    loaded = replace(loaded, settings=with_keys_of_here(loaded.settings))
    warn_of_missing_keys(loaded.program, loaded.settings)
    loaded = following_prompts(loaded)
    read_dicts_as_rows()
    chat, metadata = Chat(loaded, folder), Model.load(folder)
    agent = Agent(chat)
    is_agent, is_chat = loaded.task == names.TASK_RESPONSES, loaded.task == names.TASK_CHAT
    return ServedModel(
        name,
        uri,
        registered_version(folder) or loaded.mlmodel.get("model_id"),
        folder,
        loaded.task,
        metadata,
        Invocations(metadata),
        serve_agent(agent) if is_agent else PyfuncModel(loaded, None, chat if is_chat else None),
        chat,
        agent,
        loaded if isinstance(loaded, FollowingModel) else None,
        int(time.time()),
        files,
    )


class Models:
    """The models by their names; one of them may be replaced while it answers, which it then does to the end."""

    def __init__(self, served: list[ServedModel]) -> None:
        self._served = {each.name: each for each in served}
        self._failures: dict[str, str | None] = {}

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._served.values())

    def current(self, name: str | None = None) -> ServedModel:
        """The model of a name; the first where none is given.

        Raises:
            MlflowException: If there is none of that name.
        """
        served = self._served.get(name) if name is not None else next(iter(self._served.values()))
        if served is None:
            raise unknown(name)
        return served

    def answering(self, name: str | None) -> ServedModel:
        """The model that a client of OpenAI's protocol means: by its name here, or by that of a language model.

        Raises:
            MlflowException: If none answers to that name.
        """
        if name is None or name in self._served:
            return self.current(name)
        found = next((served for served in self._served.values() if served.chat.answers_to(name)), None)
        if found is None:
            raise unknown(name)
        return found

    def replace(self, served: ServedModel) -> None:
        """Have a model answer in the place of the one of its name."""
        self._failures.pop(served.name, None)
        self._served[served.name] = served

    def failed(self, name: str, why: str | None) -> None:
        """Note that a model could not be replaced; None and `replace` end that."""
        self._failures[name] = why

    def failure(self, name: str) -> str | None:
        """Why a model could not be replaced, if so."""
        return self._failures.get(name)


def unknown(name: str | None) -> MlflowException:
    """What is told of a model that is not served."""
    told = f"{name!r:.100} is none of the models that are served here. GET /v1/models lists them."
    return MlflowException(told, RESOURCE_DOES_NOT_EXIST)
