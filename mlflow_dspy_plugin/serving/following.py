"""A loaded model that follows prompts of MLflow's registry: its program says what their versions say now."""

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import replace

import dspy

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.boundary import attempt, warn
from mlflow_dspy_plugin.packaging.load import LoadedModel
from mlflow_dspy_plugin.programs.copies import Copies
from mlflow_dspy_plugin.programs.language_models import containers_of_modules
from mlflow_dspy_plugin.programs.origin import origin_of, remember_origin
from mlflow_dspy_plugin.prompts.load import lay_over
from mlflow_dspy_plugin.prompts.versions import Wanted
from mlflow_dspy_plugin.redaction import redact_text
from mlflow_dspy_plugin.serving.pace import number_of_server

_SECONDS = 60
_NONE = "false"


def following_prompts(loaded: LoadedModel) -> "LoadedModel | FollowingModel":
    """The model, with the prompts that the environment names laid over it, or else those that it was logged with.

    Raises:
        PromptError: If the registry does not have them, or they do not fit the program.
    """
    uri = os.environ.get(names.ENV_PROMPTS, "").strip() or loaded.follow_prompts
    if uri is None or uri.lower() == _NONE:
        return loaded
    model = FollowingModel(loaded, Wanted.of(uri), number_of_server(names.ENV_PROMPTS_SECONDS, _SECONDS))
    # A number means the same for ever.
    return model if model.wanted.place.startswith("@") else replace(loaded, program=model.program)


class FollowingModel:
    """Stands for a `LoadedModel`, and looks into the registry again from time to time.

    A request begins the look and does not wait for it. Where it finds other versions, a copy of the program with these
    takes the place of the one before, whose requests go on. Where it fails, what was there stays.

    Args:
        loaded: The model; it stays as it is.
        wanted: The versions.
        seconds: The time between two looks.

    Attributes:
        wanted: The versions.
        versions: The numbers of those that the program says now, by the names of their prompts.
        settings: As those of the model, like those below.
        task: The task.
        mlmodel: What its MLmodel file says.
        allowed_models: The language models that a request may ask for.

    Raises:
        PromptError: If the registry does not have the versions, or they do not fit the program.
    """

    def __init__(self, loaded: LoadedModel, wanted: Wanted, seconds: float) -> None:
        self.wanted, self.settings, self.task = wanted, loaded.settings, loaded.task
        self.mlmodel, self.allowed_models = loaded.mlmodel, loaded.allowed_models
        self._as_logged, self._program, self._seconds = loaded.program, loaded.program, seconds
        self.versions: Mapping[str, int] = {}
        self._failure: str | None = None
        self._beginning, self._look = threading.Lock(), threading.Thread()
        self._take()
        self._looked = time.monotonic()

    @property
    def program(self) -> dspy.Module:
        """The program as it is now."""
        if time.monotonic() - self._looked >= self._seconds and not self._look.is_alive():
            self._look_again()
        return self._program

    def _look_again(self) -> None:
        if not self._beginning.acquire(blocking=False):
            return
        try:
            # Another request may have begun one since this one saw none.
            if not self._look.is_alive():
                self._looked = time.monotonic()
                self._look = threading.Thread(target=self._try_to_take, name="mlflow-dspy-prompts", daemon=True)
                self._look.start()
        finally:
            self._beginning.release()

    def _try_to_take(self) -> None:
        failure = attempt(self._take, lambda error: f"{type(error).__name__}: {error}")
        if failure is not None and failure != self._failure:
            warn(
                "The prompts %s@%s cannot be followed now, so what was there stays (%s).",
                *(self.wanted.name, self.wanted.place[1:], redact_text(failure)),
            )
        self._failure = failure

    def _take(self) -> None:
        """Take what the registry has now."""
        found = self.wanted.find(self._as_logged)
        versions = {version.name: version.version for version in found.values()}
        if versions == self.versions:
            return
        program = Copies(containers_of_modules(self._as_logged)).of(self._as_logged)
        lay_over(program, found)
        remember_origin(program, origin_of(self._as_logged))
        self._program, self.versions = program, versions
