"""Asks a server over HTTP: a value goes out as a request; an answer, a stream of them or an error comes back."""

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import requests
from mlflow.environment_variables import MLFLOW_DEPLOYMENT_PREDICT_TIMEOUT
from mlflow.exceptions import get_error_code
from mlflow.protos.databricks_pb2 import (
    DEADLINE_EXCEEDED,
    INVALID_PARAMETER_VALUE,
    TEMPORARILY_UNAVAILABLE,
    ErrorCode,
)
from mlflow.utils.proto_json_utils import NumpyEncoder

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import DeploymentError

DEFAULT_URL = "http://127.0.0.1:5001"
CONNECT_SECONDS = 10
# Whoever is told to come back does so this often, and waits no longer than this for each.
_TRIES, _LONGEST_WAIT = 4, 30
_BUSY = {429, 503}
# Answers that are read for what went wrong are read this far.
_SHOWN_CHARACTERS = 2000


class ServerClient:
    """A server, as those who ask it see it.

    Args:
        url: Its address.
        key: The key that it asks for, if any.

    Raises:
        DeploymentError: If that is no address of a server.
    """

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = _checked(url)
        self._key = key
        self._session = requests.Session()
        # Set here and not as a header: a .netrc file would replace that.
        self._session.auth = self._with_key

    def get(self, path: str) -> Any:
        """What the server says of itself.

        Raises:
            DeploymentError: If it does not answer, or answers with an error.
        """
        return self._read(self._asked("GET", path))

    def post(self, path: str, body: Any) -> Any:
        """The answer to a request.

        Raises:
            DeploymentError: If it does not answer, or answers with an error.
        """
        return self._read(self._asked("POST", path, body))

    def stream(self, path: str, body: Any) -> Iterator[Any]:
        """The events of the answer to a request, each as it comes; whoever stops early ends the request.

        Raises:
            DeploymentError: If it does not answer, answers with an error, or breaks off.
        """
        with self._asked("POST", path, body, stream=True) as response:
            try:
                for line in response.iter_lines():
                    name, _, data = line.partition(b":")
                    if name != b"data":
                        continue
                    if data.strip() == b"[DONE]":
                        return
                    yield self._event(data)
            except (requests.RequestException, ValueError) as error:
                raise self._failed(f"broke off its answer ({type(error).__name__})") from None
        raise self._failed("ended its answer before it was whole")

    def _event(self, data: bytes) -> Any:
        event = json.loads(data)
        if isinstance(event, dict) and set(event) == {"error"}:
            raise self._error(500, event)
        return event

    def _asked(self, method: str, path: str, body: Any = None, stream: bool = False) -> requests.Response:
        """A response that is no error; a server that is busy is asked again when it says so."""
        for again in reversed(range(_TRIES)):
            response = self._sent(method, path, body, stream)
            if response.ok and not response.is_redirect:
                return response
            wait = response.headers.get("Retry-After", "")
            if not (again and response.status_code in _BUSY and wait.isdecimal()):
                break
            response.close()
            time.sleep(min(int(wait), _LONGEST_WAIT))
        raise self._error(response.status_code, _json_of(response))

    def _sent(self, method: str, path: str, body: Any, stream: bool) -> requests.Response:
        data = None if body is None else json.dumps(body, cls=NumpyEncoder).encode()
        seconds = MLFLOW_DEPLOYMENT_PREDICT_TIMEOUT.get()
        try:
            return self._session.request(
                method,
                self.url + path,
                data=data,
                headers={"Content-Type": "application/json"},
                timeout=(CONNECT_SECONDS, seconds),
                # The key is for this server alone.
                allow_redirects=False,
                stream=stream,
            )
        except requests.ReadTimeout:
            told = f"has not answered within {seconds} seconds. {MLFLOW_DEPLOYMENT_PREDICT_TIMEOUT.name} sets how many"
            raise self._failed(told, DEADLINE_EXCEEDED) from None
        except requests.RequestException as error:
            told = (
                f"cannot be reached ({type(error).__name__}). Is it running? `mlflow deployments help -t dspy` says how"
            )
            raise self._failed(told) from None

    def _with_key(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request

    def _read(self, response: requests.Response) -> Any:
        try:
            return response.json()
        except ValueError:
            raise self._failed("answered with what is no JSON. Is it one of this package's?") from None

    def _failed(self, told: str, code: int = TEMPORARILY_UNAVAILABLE) -> DeploymentError:
        return DeploymentError(f"The server at {self.url} {told}.", code)

    def _error(self, status: int, answer: Any) -> DeploymentError:
        """What the server says went wrong, in MLflow's form or in OpenAI's."""
        told = answer.get("error", answer) if isinstance(answer, dict) else {}
        told = told if isinstance(told, dict) else {"message": told}
        message = str(told.get("message") or answer or "no more")[:_SHOWN_CHARACTERS]
        if self._key:
            message = message.replace(self._key, "[REDACTED]")
        codes = dict(ErrorCode.items())
        code = next((codes[name] for name in (told.get("error_code"), told.get("code")) if name in codes), None)
        code = get_error_code(status) if code is None else code
        return DeploymentError(f"The server at {self.url} answered {status}: {message}", code)


def _checked(url: str) -> str:
    """An address without what follows its path.

    Raises:
        DeploymentError: If it is none, or holds a password.
    """
    parts = urlsplit(url)
    if parts.username or parts.password:
        # Not quoted: it would show the password.
        raise DeploymentError(
            f"The address of the server holds a user or a password. Leave it out, and set {names.ENV_API_KEY}.",
            INVALID_PARAMETER_VALUE,
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DeploymentError(
            f"{url!r} is no address of a server. Give one like dspy:http://127.0.0.1:5001.", INVALID_PARAMETER_VALUE
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _json_of(response: requests.Response) -> Any:
    try:
        return response.json()
    except (ValueError, requests.RequestException):
        return response.reason
