"""A version of a model takes the place of the served one: it is loaded, checked, asked once, and then exchanged."""

import asyncio
import functools
from dataclasses import replace

from mlflow.exceptions import MlflowException

from mlflow_dspy_plugin.seams.invocations import Read
from mlflow_dspy_plugin.server.bodies import JSON
from mlflow_dspy_plugin.server.failures import failure_of
from mlflow_dspy_plugin.server.following import Followed, Follower, Following, followed_among
from mlflow_dspy_plugin.server.models import Models, ServedModel, load_model
from mlflow_dspy_plugin.server.own_code import check_code
from mlflow_dspy_plugin.server.settings import ServerSettings
from mlflow_dspy_plugin.server.state import ServerState


def following_of(told: ServerSettings, server: ServerState, loop: asyncio.AbstractEventLoop) -> Following:
    """Who follows the aliases that models are served by.

    Args:
        told: What the server is told.
        server: The server.
        loop: The event loop that its models answer in.
    """
    models = server.models
    followers = [
        Follower(
            followed,
            functools.partial(_version_of, models, followed.name),
            functools.partial(_take_over, told, server, loop, followed),
            functools.partial(_note, models, followed.name),
            told.reload,
        )
        for followed in followed_among(told.models)
    ]
    return Following(followers, told.reload)


def _version_of(models: Models, name: str) -> str | None:
    return models.current(name).version


def _take_over(
    told: ServerSettings, server: ServerState, loop: asyncio.AbstractEventLoop, followed: Followed, version: str
) -> None:
    """Have a version take over.

    Raises:
        Exception: Whatever speaks against it.
    """
    loaded = load_model(followed.name, followed.uri_of(version))
    check_code(loaded)
    served = replace(loaded, uri=told.models[followed.name], version=version)
    _show(served, server, loop, told.timeout if told.warm_up else None)
    server.models.replace(served)


def _show(served: ServedModel, server: ServerState, loop: asyncio.AbstractEventLoop, seconds: float | None) -> None:
    """Have a model read its input example, if it has one, and answer it.

    Args:
        served: The model.
        server: Whose it is going to be.
        loop: Where it answers.
        seconds: How long that may take; None asks for no answer.
    """
    example = served.metadata.get_serving_input(str(served.folder))
    if example is None:
        return
    read = served.invocations.read(example.encode(), JSON)
    if seconds is None:
        return
    # In that loop: what a program and its language model keep belongs to the one that they are used in first.
    answering = asyncio.run_coroutine_threadsafe(_answered(served, server, read, seconds), loop)
    answering.result()


async def _answered(served: ServedModel, server: ServerState, read: Read, seconds: float) -> None:
    with server.traces.of_a_request(), served.invocations.answering():
        await asyncio.wait_for(served.pyfunc.apredict(read.data, read.params), seconds)


def _note(models: Models, name: str, version: str, error: BaseException | None) -> None:
    """Have clients see why a version does not answer."""
    why = error if isinstance(error, MlflowException) else MlflowException(f"{type(error).__name__}: {error}")
    models.failed(name, error and f"Version {version}: {failure_of(why).message}")
