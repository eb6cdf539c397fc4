"""No secret reaches the disk: what can be left out is, and the live program keeps it."""

import collections
import copy
import functools
from typing import Any

import dspy
import mlflow
import numpy as np
import pandas as pd
import pydantic
import pytest

from tests.fakes.openai_server import OpenAIServer
from tests.fakes.script import chat_text
from tests.packaging.checks import files_with
from tests.packaging.no_store import store  # noqa: F401
from tests.packaging.programs import QA
from tests.scrubbing.secret_holders import Client, Frozen, FrozenAccount, Keys, Login, Settings, Slotted, weather

# Put together here: no text of this file is a secret.
CANARY = "-".join(["canary", "4c0ffee", "7f3a"])
# Known by its form alone, whatever it is called.
FORMED = "-".join(["sk", "proj", "4c0ffee7f3a4c0ffee"])
DEEP = {"tools": [{"auth": {"api_key": CANARY}}], "list": [[{"password": CANARY}]]}

LM_ARGUMENTS = {
    "api key": {"api_key": CANARY},
    "formed api key": {"api_key": FORMED},
    "authorization header": {"extra_headers": {"Authorization": f"Bearer {CANARY}"}},
    "key header": {"headers": {"X-Api-Key": CANARY, "Helicone-Auth": f"Bearer {CANARY}"}},
    "gateway headers": {"extra_headers": {"x-portkey-virtual-key": CANARY, "X-Team": CANARY}},
    "other headers": {"default_headers": collections.OrderedDict({"Authentication": CANARY, "X-Gateway-Key": CANARY})},
    "code in url": {"api_base": f"http://127.0.0.1:9/v1?code={CANARY}"},
    "key of another provider": {"user": f"gsk_{CANARY}"},
    "aws": dict.fromkeys(("aws_access_key_id", "aws_secret_access_key", "aws_session_token"), CANARY),
    "azure": {"azure_ad_token": CANARY, "azure_password": CANARY, "client_secret": CANARY},
    "vertex text": {"vertex_credentials": f'{{"private_key_id": "{CANARY}"}}'},
    "vertex dict": {"vertex_credentials": {"type": "service_account", "private": {"id": CANARY}}},
    "user in url": {"api_base": f"http://user:{CANARY}@127.0.0.1:9/v1"},
    "key in url": {"api_base": f"http://127.0.0.1:9/v1?api-key={CANARY}"},
    "ordered headers": {"extra_headers": collections.OrderedDict(Authorization=CANARY)},
    "body": {"extra_body": DEEP},
    "list of keys": {"api_keys": [CANARY, CANARY]},
}


def settings() -> Settings:
    value = Settings(token=CANARY, secret=CANARY)
    value._api_key = CANARY
    return value


ATTRIBUTES = {
    "text": lambda: Client(api_key=CANARY),
    "bytes": lambda: Client(password=CANARY.encode()),
    "text of a secret's form": lambda: Client(whatever=FORMED, deep=[{"x": (FORMED,)}], s={FORMED}),
    "key of a secret's form": lambda: Client(cache={FORMED: 1}),
    "nested containers": lambda: Client(config=DEEP),
    "slots": lambda: Slotted(CANARY),
    "frozen": lambda: Frozen(CANARY),
    "frozen slots": lambda: FrozenAccount(CANARY),
    "named tuple": lambda: Login("h", CANARY),
    "pydantic": settings,
    "dict subclass": lambda: Keys(api_key=CANARY),
    "default dict": lambda: collections.defaultdict(str, {"api_key": CANARY}),
    "ordered dict": lambda: collections.OrderedDict(outer={"api_key": CANARY}),
    "deque": lambda: collections.deque([{"api_key": CANARY}]),
    "mapping in a list": lambda: [collections.ChainMap({"api_key": CANARY})],
    "partial": lambda: functools.partial(weather, api_key=CANARY),
    "array": lambda: np.array([{"api_key": CANARY}], dtype=object),
}


def save(program: dspy.Module, by_dspy: bool = False, **options: Any) -> None:
    mlflow.dspy.save_model(program, "model", use_dspy_model_save=by_dspy, infer_code_paths=False, **options)


def lm_of(kind: str) -> dspy.LM:
    return dspy.LM("openai/m", max_tokens=9, **copy.deepcopy(LM_ARGUMENTS[kind]))


def check_what_is_left(lm: dspy.LM) -> None:
    assert lm.kwargs["max_tokens"] == 9
    assert None not in [value for name, value in lm.kwargs.items() if name != "temperature"]


@pytest.mark.parametrize("by_dspy", [False, True])
def test_no_secret_argument_of_the_configured_language_model_is_saved(by_dspy, tmp_path):
    """Each kind in a model folder of its own; the model in memory keeps it."""
    program = dspy.Predict("question -> answer")
    for kind in LM_ARGUMENTS:
        lm, folder = lm_of(kind), tmp_path / kind
        dspy.configure(lm=lm)
        mlflow.dspy.save_model(program, folder, use_dspy_model_save=by_dspy, infer_code_paths=False)
        assert not files_with(folder, CANARY) and not files_with(folder, FORMED), kind
        assert lm.kwargs == lm_of(kind).kwargs
        dspy.configure(lm=None)
        mlflow.dspy.load_model(folder)
        check_what_is_left(dspy.settings.lm)


@pytest.mark.parametrize("by_dspy", [False, True])
def test_no_secret_argument_of_a_predictor_s_language_model_is_saved(by_dspy):
    """A predictor with a language model of each kind; the models in memory keep theirs."""
    program = QA()
    program.asked = {kind: dspy.Predict("question -> answer") for kind in LM_ARGUMENTS}
    for kind, predictor in program.asked.items():
        predictor.set_lm(lm_of(kind))
    save(program, by_dspy)
    assert not files_with("model", CANARY) and not files_with("model", FORMED)
    loaded = mlflow.dspy.load_model("model")
    assert loaded.asked.keys() == LM_ARGUMENTS.keys()
    for kind, predictor in loaded.asked.items():
        assert program.asked[kind].lm.kwargs == lm_of(kind).kwargs
        check_what_is_left(predictor.lm)


@pytest.mark.parametrize("by_dspy", [False, True])
@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_no_secret_in_an_attribute_of_the_program_or_the_retriever_is_saved(kind, by_dspy):
    program, rm = QA(), ATTRIBUTES[kind]()
    program.client = ATTRIBUTES[kind]()
    dspy.configure(rm=rm)
    save(program, by_dspy)
    assert not files_with("model", CANARY) and not files_with("model", FORMED)
    assert mlflow.dspy.load_model("model").passages == 3


def test_a_secret_attribute_becomes_none_and_its_place_is_recorded():
    program = QA()
    program.client = Client(api_key=CANARY, region="eu")
    save(program)
    loaded = mlflow.dspy.load_model("model")
    assert vars(loaded.client) == {"api_key": None, "region": "eu"}
    section = mlflow.models.Model.load("model").flavors["dspy"]
    assert section["left_out"] == {"Client.api_key": None}
    assert program.client.api_key == CANARY


def test_headers_that_hold_no_secret_are_kept_and_what_is_left_out_is_said(caplog):
    headers = {"User-Agent": "tests", "anthropic-beta": "b", "X-Mine": CANARY}
    program = QA()
    program.set_lm(dspy.LM("openai/m", extra_headers=headers, api_key=CANARY))
    save(program)
    predictor = mlflow.dspy.load_model("model").predictors()[0]
    assert predictor.lm.kwargs["extra_headers"] == {"User-Agent": "tests", "anthropic-beta": "b"}
    (message,) = {record.getMessage() for record in caplog.records if "Left out" in record.getMessage()}
    assert "LM.kwargs.api_key, LM.kwargs.extra_headers.X-Mine" in message
    assert CANARY not in message


@pytest.mark.parametrize("by_dspy", [False, True])
def test_prompts_answers_and_key_of_past_calls_are_not_saved(by_dspy):
    answer = {"query": CANARY, "reasoning": CANARY, "answer": CANARY}
    with OpenAIServer({"m": lambda messages, body: chat_text(answer)}) as server:
        lm = dspy.LM("openai/m", api_base=server.base_url, api_key=f"key-{CANARY}", cache=False)
        dspy.configure(lm=lm)
        program = QA()
        program.answer.set_lm(lm.copy())
        assert program(question=f"Is {CANARY} there?").answer == CANARY
        calls = server.request_count
        save(program, by_dspy, input_example={"question": "x"})
        assert server.request_count == calls == 2
    assert lm.history and program.history
    assert not files_with("model", CANARY)


EXAMPLES = {
    "text": f"my key is {FORMED}",
    "dict": {"question": f"my key is {FORMED}"},
    "table": pd.DataFrame([{"question": f"at http://me:{FORMED}@host"}]),
}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_secret_in_an_input_example_is_redacted(kind):
    save(QA(), input_example=EXAMPLES[kind])
    assert not files_with("model", FORMED)
    assert mlflow.models.Model.load("model").saved_input_example_info
    if kind == "dict":
        # Not for tables: redacting is of texts, and the example must still load.
        loaded = mlflow.models.Model.load("model").load_input_example("model")
        assert loaded == {"question": "my key is [REDACTED]"}


@pytest.mark.parametrize("argument", ["metadata", "model_config"])
def test_metadata_and_configuration_lose_their_secrets_and_keep_the_rest(argument):
    given = {"api_key": CANARY, "nested": {"url": f"http://a:{CANARY}@h", "max_tokens": 5}, "team": "x"}
    save(QA(), **{argument: given})
    assert not files_with("model", CANARY)
    model = mlflow.models.Model.load("model")
    kept = model.metadata if argument == "metadata" else model.flavors["python_function"]["config"]
    kept.pop("dspy_fields", None)
    assert kept == {"nested": {"url": "http://h", "max_tokens": 5}, "team": "x"}
    assert given["api_key"] == CANARY


class Credentials(pydantic.BaseModel):
    password: str
    token: str


class Tokens(dspy.Signature):
    """Say the token and the password."""

    token: str = dspy.InputField(desc="the token")
    login: Credentials = dspy.InputField()
    password: str = dspy.OutputField(desc="a password")
    secret: str = dspy.OutputField()


@pytest.mark.parametrize("by_dspy", [False, True])
def test_fields_of_data_that_are_called_like_secrets_survive(by_dspy):
    login = Credentials(password="swordfish", token="t0ken-0001")
    fields = {"token": "noun-00001", "login": login, "password": "open-sesame", "secret": "none"}
    nested = {"token": "noun-00002", "login": {"password": "xyzzy", "token": "t"}, "password": "p"}
    program = dspy.ChainOfThought(Tokens)
    program.predict.demos = [dspy.Example(**fields).with_inputs("token", "login"), dict(fields), nested]
    save(program, by_dspy, input_example={"token": "noun-00003", "login": {"password": "a", "token": "b"}})
    loaded = mlflow.dspy.load_model("model")
    assert loaded.predict.demos == program.predict.demos
    assert list(loaded.predict.signature.fields) == list(program.predict.signature.fields)
    example = mlflow.models.Model.load("model").load_input_example("model")
    assert example == {"token": "noun-00003", "login": {"password": "a", "token": "b"}}
    assert "left_out" not in mlflow.models.Model.load("model").flavors["dspy"]


def test_what_only_resembles_a_secret_survives():
    kept = {
        "max_tokens": 5,
        "eos_token": "</s>",
        "api_key_env": "MY_KEY",
        "token_count": 3,
        "password_field": "pw",
    }
    program = QA()
    program.client = Client(**kept)
    save(program)
    assert vars(mlflow.dspy.load_model("model").client) == kept


def test_objects_that_were_one_are_one_again():
    program = QA()
    program.shared = {"api_key": CANARY, "list": [1]}
    program.client = Client(config=program.shared, items=program.shared["list"])
    save(program)
    loaded = mlflow.dspy.load_model("model")
    assert loaded.shared is loaded.client.config
    assert loaded.shared["list"] is loaded.client.items
