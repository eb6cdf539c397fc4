"""What `mlflow deployments help -t dspy` prints."""

import dataclasses

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.server.client import DEFAULT_URL
from mlflow_dspy_plugin.server.settings import KINDS, ServerSettings

_MANUAL = """\
The target dspy is a server of DSPy programs that were logged with MLflow.

Start one, here or (-C host=...) for other machines:

    mlflow deployments run-local -t dspy --name qa -m models:/qa@prod -C port=5001

The name is yours: requests call the model by it. A registered model by an alias, as here, follows the alias: when that
moves, the version it moves to is loaded, checked and asked its input example, and then takes over; one that fails
leaves the old one. SIGTERM or Ctrl-C ends the server once the requests under way are answered.

Ask it (the URI of the target is dspy:http://host:port, and dspy alone is dspy:{url}):

    mlflow deployments predict -t dspy:{url} --name qa -I input.json
    mlflow deployments list -t dspy:{url}
    mlflow deployments get -t dspy:{url} --name qa

input.json has rows as pandas reads them, [{{"question": "..."}}], or a list under "inputs" or "messages". In Python:

    from mlflow.deployments import get_deploy_client

    client = get_deploy_client("dspy:{url}")
    client.predict("qa", {{"question": "..."}})
    for chunk in client.predict_stream("qa", {{"question": "..."}}): ...

It speaks MLflow's protocol (/invocations, /models/<name>/invocations) and OpenAI's (/v1/chat/completions,
/v1/responses, /v1/models); /docs describes all of it.

Keys: {keys} lists those that may call, with commas between, or {file} names a file of
them, one a line, which is read again when it changes. Whoever asks sets {key}.

Settings, as -C NAME=VALUE or as the environment variable {prefix}NAME:

{settings}
"""

# A setting -> what it means.
MEANINGS = {
    "host": "the address to listen at; another than loopback needs keys",
    "port": "the port; 0 takes a free one",
    "concurrency": "how many requests are answered at a time",
    "queue": "how many more may wait; others are told to come back (503)",
    "body_bytes": "the longest body of a request (413)",
    "timeout": "seconds to receive a request (408), and until its answer (504)",
    "drain": "seconds that requests under way have left at the end",
    "reload": "seconds between looks at an alias; 0 never looks",
    "keys_file": "a file of keys, one a line",
    "open_to_all": "listen at any address without keys",
    "tracing": "trace each request",
    "warm_up": "ask a version that takes over its input example first",
    "access_log": "log each request as a line of JSON",
}


def manual() -> str:
    """The text, with every setting and its default."""
    defaults = {
        field.name: field.default if field.default is not dataclasses.MISSING else field.default_factory()
        for field in dataclasses.fields(ServerSettings)
        if field.name in KINDS
    }
    settings = [f"    {name:12} {MEANINGS[name]} ({_shown(defaults[name])})" for name in KINDS]
    return _MANUAL.format(
        url=DEFAULT_URL,
        keys=names.ENV_API_KEYS,
        file=names.ENV_API_KEYS_FILE,
        key=names.ENV_API_KEY,
        prefix=names.ENV_SERVER,
        settings="\n".join(settings),
    )


def _shown(default: object) -> str:
    """A default, as it would be given."""
    if default == "":
        return "none"
    return f"{default:g}" if isinstance(default, float) else str(default).lower()
