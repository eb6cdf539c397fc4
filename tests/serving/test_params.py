"""`params` of a request: they change the language models of that request and of no other."""

import json
from concurrent.futures import ThreadPoolExecutor

import dspy
import mlflow
import pytest
from mlflow.models import ModelSignature
from mlflow.pyfunc.scoring_server import CONTENT_TYPE_JSON, invocations
from mlflow.types.schema import ColSpec, DataType, ParamSchema, ParamSpec, Schema

from mlflow_dspy_plugin.errors import InputError, ProgramError
from mlflow_dspy_plugin.serving.overrides import overridden
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.script import chat_text
from tests.fakes.scripted import scripted_lm
from tests.packaging.no_store import store  # noqa: F401
from tests.packaging.programs import QA

ANSWER = {"answer": "bear", "query": "q", "reasoning": "why"}
# As they are sent, with dspy 3.4's name of the second.
SENT = {
    "temperature": "temperature",
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "top_p": "top_p",
}


@pytest.fixture
def server():
    with OpenAIServer({"bears": lambda messages, body: chat_text(ANSWER)}) as running:
        yield running


@pytest.fixture
def saved(server):
    """Saves a program with an LM behind the server, and loads it as a pyfunc model."""

    def save(program: dspy.Module | None = None, **options):
        dspy.configure(lm=lm_of(server))
        mlflow.dspy.save_model(program or dspy.Predict("question -> answer"), "model", **options)
        dspy.configure(lm=None)
        return mlflow.pyfunc.load_model("model")

    return save


def lm_of(server: OpenAIServer, model: str = "openai/bears", **options) -> dspy.LM:
    options = {"temperature": 0.5, "max_tokens": 50, "cache": False, **options}
    return dspy.LM(model, api_base=server.base_url, num_retries=0, **options)


def sent(server: OpenAIServer) -> list[dict]:
    """The arguments of the requests, as they arrived."""
    return [{SENT[name]: value for name, value in r.body.items() if name in SENT} for r in server.requests]


def question_of(request) -> str:
    return request.body["messages"][-1]["content"]


PLAIN = {"temperature": 0.5, "max_tokens": 50}


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (None, PLAIN),
        ({}, PLAIN),
        ({"temperature": None}, PLAIN),
        ({"temperature": 0.1}, {**PLAIN, "temperature": 0.1}),
        ({"temperature": 1, "max_tokens": 7, "top_p": 0.2}, {"temperature": 1, "max_tokens": 7, "top_p": 0.2}),
        ({"unknown": 3, "top_p": 0.9}, {**PLAIN, "top_p": 0.9}),
    ],
    ids=str,
)
def test_params_that_are_given_reach_the_language_model_in_that_request_alone(saved, server, params, expected):
    model = saved()
    assert model.predict({"question": "x"}, params=params) == {"answer": "bear"}
    model.predict({"question": "x"})
    assert sent(server) == [expected, PLAIN]


@pytest.mark.parametrize("wrong", [{"temperature": "hot"}, {"max_tokens": 0.5}, {"cache": 1}])
def test_a_param_of_the_wrong_type_is_refused_by_mlflow(saved, server, wrong):
    with pytest.raises(mlflow.MlflowException, match="Invalid parameters found"):
        saved().predict({"question": "x"}, params=wrong)
    assert not server.requests


@pytest.mark.parametrize("example", ["x", {"question": "x"}, None])
def test_the_scoring_server_takes_params(saved, server, example):
    model = saved(input_example=example)
    body = {"dataframe_records": [{"question": "x"}], "params": {"temperature": 0.1}}
    response = invocations(json.dumps(body), CONTENT_TYPE_JSON, model, model.metadata.get_input_schema())
    assert (response.status, json.loads(response.response)["predictions"]) == (200, {"answer": "bear"})
    assert sent(server) == [{**PLAIN, "temperature": 0.1}]


def test_requests_at_once_do_not_mix_their_params(saved, server):
    program = QA()
    program.rewrite.lm = lm_of(server)
    model = saved(program)
    server.latency = 0.02

    def ask(i: int) -> None:
        model.predict({"question": f"number {i}."}, params={"temperature": i / 100} if i % 2 else None)

    # Only the first predictor's prompt has the question in it.
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(16)))
    first = {question_of(r): r.body["temperature"] for r in server.requests if "number" in question_of(r)}
    assert len(first) == 16
    for question, temperature in first.items():
        i = int(question.split("number ")[1].split(".")[0])
        assert temperature == (i / 100 if i % 2 else 0.5)
    assert sorted(r.body["temperature"] for r in server.requests) == sorted(2 * list(first.values()))


def test_a_stream_takes_params(saved, server):
    model = saved(input_example="x")
    for temperature in (0.1, None):
        assert list(model.predict_stream("x", params={"temperature": temperature}))
    assert sent(server) == [{**PLAIN, "temperature": 0.1}, PLAIN]


def test_a_chat_model_takes_params(saved, server):
    class Chat(dspy.Module):
        def __init__(self):
            super().__init__()
            self.inner = dspy.Predict("question -> answer")

        def forward(self, messages):
            return self.inner(question=messages[-1]["content"])

    model = saved(Chat(), task="llm/v1/chat")
    model._model_impl.predict({"messages": [{"role": "user", "content": "x"}]}, {"temperature": 0.1})
    assert sent(server) == [{**PLAIN, "temperature": 0.1}]


def test_the_cache_can_be_used_or_passed_by_in_one_request(saved, server):
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    try:
        model = saved()
        for params, requests in [({"cache": True}, 1), ({"cache": True}, 1), (None, 2), ({"cache": False}, 3)]:
            model.predict({"question": "x"}, params=params)
            assert server.request_count == requests
    finally:
        dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)


def test_a_signature_of_the_user_s_keeps_its_own_params(saved, server):
    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "question")]), params=ParamSchema([ParamSpec("seed", "long", 3)])
    )
    model = saved(signature=signature)
    assert model.metadata.signature == signature
    model.predict({"question": "x"}, params={"temperature": 0.1})
    assert sent(server) == [PLAIN]
    assert server.requests[-1].body["seed"] == 3


def test_a_model_saved_without_a_language_model_overrides_the_process_s_own(server):
    mlflow.dspy.save_model(dspy.Predict("question -> answer"), "model")
    mine = lm_of(server)
    dspy.configure(lm=mine)
    mlflow.pyfunc.load_model("model").predict({"question": "x"}, params={"temperature": 0.1})
    assert sent(server) == [{**PLAIN, "temperature": 0.1}]
    assert mine.kwargs["temperature"] == 0.5


class Holder(dspy.Module):
    """Holds predictors in containers, one of them twice, notes and a thing that cannot be copied."""

    def __init__(self, lm):
        super().__init__()
        self.one = dspy.Predict("question -> answer")
        self.one.lm = lm
        self.again = self.one
        self.more = [(dspy.Predict("question -> answer"),), {"inner": QA()}]
        self.more[1]["inner"].rewrite.lm = lm
        self.notes = []
        self.uncopyable = (lambda: None for _ in ())

    def forward(self, question):
        self.notes.append(question)
        return self.again(question=question)


def test_the_copy_of_a_program_has_its_shape_and_shares_all_but_modules_and_language_models():
    lm = scripted_lm({"answer": "x"}, temperature=0.5)
    program = Holder(lm)
    copied, settings = overridden(program, {"lm": lm, "num_threads": 2}, {"temperature": 0.1, "cache": None})
    assert copied.again is copied.one is not program.one
    assert copied.more[1]["inner"].rewrite.lm is copied.one.lm is settings["lm"]
    assert (copied.one.lm.kwargs["temperature"], lm.kwargs["temperature"]) == (0.1, 0.5)
    assert [name for name, _ in copied.named_predictors()] == [name for name, _ in program.named_predictors()]
    assert copied.uncopyable is program.uncopyable
    assert settings["num_threads"] == 2
    with dspy.context(lm=settings["lm"]):
        assert copied(question="noted").answer == "x"
    assert program.notes == ["noted"]


@pytest.mark.parametrize("params", [None, {}, {"temperature": None}])
def test_nothing_is_copied_where_nothing_is_given(params):
    program, settings = Holder(scripted_lm("x")), {"lm": scripted_lm("x")}
    assert overridden(program, settings, params) == (program, settings)


def test_a_program_whose_predictors_have_no_language_model_of_their_own_is_not_copied():
    program = QA()
    assert overridden(program, {}, {"temperature": 0.1})[0] is program


def test_past_calls_are_not_copied_and_not_lost():
    lm = scripted_lm({"answer": "x"})
    lm("hello")
    _, settings = overridden(QA(), {"lm": lm}, {"temperature": 0.1})
    assert (settings["lm"].history, len(lm.history)) == ([], 1)


def test_openai_s_reasoning_models_get_the_name_that_they_know():
    lm = dspy.LM("openai/o3-mini", temperature=1.0, max_tokens=20000)
    _, settings = overridden(QA(), {"lm": lm}, {"max_tokens": 30000})
    assert settings["lm"].kwargs["max_completion_tokens"] == 30000
    assert "max_tokens" not in settings["lm"].kwargs


def test_a_request_may_ask_for_a_language_model_that_the_model_allows(saved, server):
    server.models["cubs"] = server.models["bears"]
    model = saved(allowed_models=["openai/cubs"])
    assert model.predict({"question": "one"}, params={"model": "openai/cubs"}) == {"answer": "bear"}
    assert model.predict({"question": "two"}) == {"answer": "bear"}
    assert [request.body["model"] for request in server.requests] == ["cubs", "bears"]
    with pytest.raises(
        InputError, match="'openai/wolves', which this model does not allow: it may ask for openai/cubs"
    ):
        model.predict({"question": "three"}, params={"model": "openai/wolves"})


def test_a_model_that_allows_no_other_keeps_its_own(saved, server):
    # MLflow drops a param that the signature has not.
    assert saved().predict({"question": "one"}, params={"model": "openai/cubs"}) == {"answer": "bear"}
    assert server.requests[0].body["model"] == "bears"


@pytest.mark.parametrize("wrong", ["openai/cubs", [1], [""]])
def test_what_are_no_names_of_models_is_refused(wrong, saved):
    with pytest.raises(ProgramError, match="Give a list of names as dspy.LM takes them"):
        saved(allowed_models=wrong)


class Remembering(dspy.Module):
    """Keeps what it was asked, in an attribute that grows."""

    def __init__(self):
        super().__init__()
        self.predict = dspy.Predict("question -> answer")
        self.seen = dict.fromkeys(range(20_000))

    def forward(self, question: str):
        self.seen[question] = len(self.seen)
        return self.predict(question=question)


def test_params_hold_while_other_requests_change_what_the_program_keeps():
    program = Remembering()
    program.predict.lm = scripted_lm({"answer": "ok"})
    mlflow.dspy.save_model(program, "model", serialization_format="cloudpickle")
    model = mlflow.pyfunc.load_model("model")

    def ask(number):
        return model.predict({"question": f"q{number}"}, params={"temperature": 0.5})

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(100))) == [{"answer": "ok"}] * 100
    assert len(model.get_raw_model().seen) == 20_100


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_cannot_be_sent_is_refused(saved, number):
    with pytest.raises(InputError, match="The param 'temperature' is (nan|inf)"):
        saved().predict({"question": "q"}, params={"temperature": number})
