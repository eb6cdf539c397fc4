"""No canary is stored or logged, whichever kind it is of and wherever it enters a program."""

import asyncio
import contextlib
import json
import os

import dspy
import mlflow
import pytest

from tests.fakes.openai_server import Fault, OpenAIServer
from tests.fakes.scripted import scripted_lm
from tests.scrubbing.canaries import CANARIES, CORE, VARIABLE, files_with_canary, holds_canary
from tests.scrubbing.conftest import environment, said  # noqa: F401
from tests.tracing.trees import spans_named

PREDICT = dspy.Predict("question -> answer")
OF_A_FORM = [kind for kind in CANARIES if kind != "of no form"]
ANSWERED = "[[ ## answer ## ]]\na\n\n[[ ## completed ## ]]"


def refused(messages, body):
    """A provider that repeats the key and the request in its error."""
    return Fault(status=401, message=f"{{key}} may not ask: {json.dumps(body)}")


@pytest.fixture(scope="module")
def server():
    with OpenAIServer({"m": lambda messages, body: ANSWERED, "refusing": refused}) as running:
        yield running


def ask(**lm):
    PREDICT(question="q", lm=dspy.LM(**lm))


def bearer(secret):
    return {"Authorization": f"Bearer {secret}", "X-Gateway": secret}


def called(function, **arguments):
    dspy.Tool(function)(**arguments)


def fetch(url: str = "", api_key: str = "", headers: dict | None = None, text: str = "") -> str:
    """A tool that answers with nothing."""
    return ""


def failing(api_key: str) -> str:
    """A tool whose error repeats its key, in a chain of errors."""
    try:
        raise ConnectionError(f"no way with {api_key}")
    except ConnectionError as error:
        raise RuntimeError(f"could not log in as {api_key!r}") from error


class Holding(dspy.Module):
    """Passes on what it is given, under the same name."""

    def forward(self, **inputs):
        return dspy.Prediction(**inputs)


def streamed(text):
    async def consume():
        return [chunk async for chunk in dspy.streamify(PREDICT)(question="q")]

    with dspy.context(lm=scripted_lm({"answer": text})):
        asyncio.run(consume())


def instructed(text):
    predict = dspy.Predict(dspy.Signature("question -> answer", f"Log in with {text} first."))
    predict.demos = [dspy.Example(question=text, answer=text)]
    predict(question="q")


def embedded(text):
    dspy.Embedder(lambda texts: [[1.0]] * len(texts), caching=False)([text])


# Under a name that says that it is secret: of every kind. `lm` has the arguments of a language model that answers.
NAMED = {
    "in the LM": lambda secret, lm: ask(**{**lm, "api_key": secret}),
    "in the LM's headers": lambda secret, lm: ask(**lm, extra_headers=bearer(secret)),
    "per call of the LM": lambda secret, lm: dspy.LM(**lm)("q", api_key=secret),
    "in headers per call of the LM": lambda secret, lm: dspy.LM(**lm)("q", extra_headers=bearer(secret)),
    "in the config of a call": lambda secret, lm: PREDICT(question="q", lm=dspy.LM(**lm), config={"api_key": secret}),
    "in the config of the predictor": lambda secret, lm: dspy.Predict("question -> answer", api_key=secret)(
        question="q", lm=dspy.LM(**lm)
    ),
    "echoed by the provider": lambda secret, lm: ask(**{**lm, "model": "openai/refusing", "api_key": secret}),
    "in a tool's argument": lambda secret, lm: called(fetch, api_key=secret),
    "in a tool's headers": lambda secret, lm: called(fetch, headers=bearer(secret)),
    "in the error of a tool": lambda secret, lm: called(failing, api_key=secret),
    "in an input": lambda secret, lm: Holding()(password=secret),
    "in an input, deep": lambda secret, lm: Holding()(login={"users": [{"token": secret}]}),
    "in an input, and in a text": lambda secret, lm: Holding()(password=secret, text=f"it is {secret}!"),
}
# In a text that anybody may write: of a known form, or known to the environment.
WRITTEN = {
    "in a question": lambda secret, lm: PREDICT(question=f"what is {secret}?"),
    "in an answer": lambda secret, lm: PREDICT(question="q", lm=scripted_lm({"answer": secret})),
    "in an answer that cannot be parsed": lambda secret, lm: PREDICT(question="q", lm=scripted_lm(secret)),
    "in a stream": lambda secret, lm: streamed(secret),
    "in instructions and demos": lambda secret, lm: instructed(secret),
    "in a long text": lambda secret, lm: PREDICT(question="word " * 5000 + secret),
    "in a URL": lambda secret, lm: called(fetch, url=f"https://api.example.com/?key={secret}&q=1"),
    "in a tool's text": lambda secret, lm: called(fetch, text=secret),
    "in what is embedded": lambda secret, lm: embedded(secret),
    "in bytes": lambda secret, lm: Holding()(data=f"it is {secret}".encode()),
    "in an error": lambda secret, lm: PREDICT(question="q", lm=scripted_lm(RuntimeError(f"no {secret}"))),
}
CELLS = [
    pytest.param(kind, place, id=f"{kind}, {name}")
    for places, kinds in ((NAMED, CANARIES), (WRITTEN, OF_A_FORM))
    for name, place in places.items()
    for kind in kinds
]


@pytest.mark.parametrize(("kind", "place"), CELLS)
def test_no_canary_is_stored_or_logged(kind, place, server, store, environment, said, trace):  # noqa: F811
    lm = {"model": "openai/m", "api_base": server.base_url, "cache": False, "num_retries": 0, "api_key": "k"}
    # Its message is the program's, and so is what it holds.
    server.requests.clear()
    with contextlib.suppress(Exception):
        place(CANARIES[kind], lm)
    # One of the canaries cannot be sent in a header; the others have been.
    for request in server.requests if kind == "of a known form" else ():
        assert any(CORE in value for value in request.headers.values())
    assert trace().data.spans
    assert files_with_canary(store.parent) == []
    assert not holds_canary(said().encode())


def test_a_text_that_is_not_secret_is_found(store, trace):
    """The search of this file finds what is there."""
    PREDICT(question=f"a word like {CORE}")
    assert spans_named(trace(), "Predict.forward")[0].inputs == {"question": f"a word like {CORE}"}
    assert files_with_canary(store.parent)


class Client(dspy.Retrieve):
    """Logs in with a key of its own, which its error repeats."""

    def __init__(self, api_key):
        super().__init__()
        self.api_key = api_key

    def forward(self, query):
        raise RuntimeError(f"401: {self.api_key}")


def failing_embedder(texts, api_key=None):
    raise RuntimeError(f"401: {api_key}")


def in_a_span(text):
    with mlflow.start_span("mine"):
        called(failing, api_key=text)


def rotated(secret):
    os.environ[VARIABLE] = secret
    PREDICT(question=f"it is {secret}")


# Echoed, or seen, before or beside the place by whose name they are known.
ECHOED = {
    "of a retriever": lambda secret: Client(secret)("q"),
    "of an embedder": lambda secret: dspy.Embedder(failing_embedder, caching=False, api_key=secret)(["q"]),
    "in a question, of the configured LM": lambda secret: PREDICT(question=f"my key is {secret}"),
    "in a list of headers": lambda secret: Holding()(headers=[["x-api-key", secret]]),
    "in a text of headers": lambda secret: Holding()(headers=f"X-Api-Key: {secret}"),
    "in a URL of the LM": lambda secret: dspy.LM("openai/m", api_base=f"http://u:{secret}@127.0.0.1:9/", num_retries=0)(
        f"hi {secret}"
    ),
    "in the environment, which has changed": rotated,
}


@pytest.mark.parametrize("place", ECHOED.values(), ids=ECHOED)
def test_no_canary_is_stored_where_it_is_echoed(place, server, store, environment, traces):  # noqa: F811
    secret = "canary-" + CORE
    lm = dspy.LM("openai/m", api_base=server.base_url, cache=False, num_retries=0, api_key=secret)
    with dspy.context(lm=lm), contextlib.suppress(Exception):
        place(secret)
    assert traces()
    assert files_with_canary(store.parent) == []


def test_an_error_on_its_way_through_a_span_of_the_user_repeats_no_key(store, trace):
    with contextlib.suppress(Exception):
        in_a_span(CANARIES["of a known form"])
    assert trace().data.spans[0].name == "mine"
    assert files_with_canary(store.parent) == []
