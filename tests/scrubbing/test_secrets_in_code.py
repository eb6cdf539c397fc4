"""A secret in code that travels with the program cannot be left out: it stops the saving."""

import enum
from pathlib import Path
from types import FunctionType
from typing import Any

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.errors import SecretError
from tests.packaging.checks import files_with
from tests.packaging.no_store import store  # noqa: F401
from tests.packaging.programs import QA

CANARY = "canary-4c0ffee-7f3a"
FORMED = "sk-proj-4c0ffee7f3a4c0ffee"

# As a script of the user's: functions and classes defined by `exec` travel by value, as those of `__main__` do.
SCRIPT = f"""
import dspy, enum, pydantic
from typing import Literal

API_KEY = {CANARY!r}
CONFIG = {{"host": "h", "password": {CANARY!r}}}
KEYS = [{FORMED!r}]
NAMED_BADLY = {FORMED!r}

def global_text(city): return API_KEY
def global_dict(city): return CONFIG["host"]
def global_list(city): return KEYS
def global_of_secret_form(city): return NAMED_BADLY
def global_used_in_a_lambda(city): return (lambda: API_KEY)()
def global_used_in_a_comprehension(city): return [API_KEY for _ in city]
def default(city, api_key={CANARY!r}): return city
def keyword_default(city, *, api_key={CANARY!r}): return city
def keyword(city): return dict(city=city, api_key={CANARY!r})
def assigned(city):
    azure_key = {CANARY!r}
    return azure_key
def entry(city): return {{"password": {CANARY!r}}}
def constant(city): return {FORMED!r}
def constant_in_a_tuple(city): return city in ({FORMED!r}, "b")
def constant_in_a_lambda(city): return (lambda: {FORMED!r})()
def docstring(city):
    "Call it with http://user:{CANARY}@host"
def attribute(city): return city
attribute.api_key = {CANARY!r}
def closing(secret):
    config = {{"api_key": secret}}
    def closure(city): return secret
    def closure_dict(city): return config
    return closure, closure_dict
closure, closure_dict = closing({CANARY!r})

class ClassText:
    api_key = {CANARY!r}
class ClassDict:
    HEADERS = {{"Authorization": {CANARY!r}}}
class ClassMethod:
    def call(self): return {FORMED!r}
class ClassStatic:
    @staticmethod
    def call(): return API_KEY
class ClassDocstring:
    "Works with {FORMED}."
class PydanticDefault(pydantic.BaseModel):
    api_key: str = {CANARY!r}
class PydanticClassVariable(pydantic.BaseModel):
    model_config = {{"json_schema_extra": {{"api_key": {CANARY!r}}}}}

class Label(enum.Enum):
    TOKEN = "token"
    PASSWORD = "password1234"
class TextLabel(str, enum.Enum):
    TOKEN = "token-12345"
class Form(dspy.Signature):
    "Read the token."
    token: Literal["password-1", "password-2"] = dspy.InputField()
    password: str = dspy.OutputField(desc="the password")
class Login(pydantic.BaseModel):
    token: str
    password: str = "none"
def plain(city, max_tokens=5, token_name="abc"): return Label.TOKEN, "token", "password"
"""

REFUSED = {
    "global_text": "in API_KEY",
    "global_dict": "in CONFIG.password",
    "global_list": "in KEYS",
    "global_of_secret_form": "in NAMED_BADLY",
    "global_used_in_a_lambda": "in API_KEY",
    "global_used_in_a_comprehension": "in API_KEY",
    "default": "in api_key",
    "keyword_default": "in api_key",
    "constant": "in its constants",
    "constant_in_a_tuple": "in its constants",
    "constant_in_a_lambda": "in its constants",
    "docstring": "in its constants",
    "attribute": "in api_key",
    "closure": "in secret",
    "closure_dict": "in config.api_key",
    "ClassText": "in api_key",
    "ClassDict": "in HEADERS.Authorization",
    "ClassMethod": "in its constants",
    "ClassStatic": "in API_KEY",
    "ClassDocstring": "in __doc__",
    "PydanticDefault": "in api_key",
    "PydanticClassVariable": "in model_config.json_schema_extra.api_key",
}
ALLOWED = ("Label", "TextLabel", "Form", "Login", "plain")


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    variables: dict[str, Any] = {"__name__": "users_script"}
    exec(SCRIPT, variables)
    return variables


@pytest.mark.parametrize("name", REFUSED)
def test_a_secret_in_code_stops_the_saving_with_its_place_and_without_its_value(script, name):
    program = QA()
    program.tool = script[name]
    with pytest.raises(SecretError, match=REFUSED[name]) as caught:
        mlflow.dspy.save_model(program, "model")
    assert name in str(caught.value) or isinstance(script[name], type)
    assert CANARY not in str(caught.value) and FORMED not in str(caught.value)
    assert not Path("model").exists()


@pytest.mark.parametrize("name", ALLOWED)
def test_code_whose_fields_and_labels_are_called_like_secrets_is_saved(script, name):
    program = QA()
    program.tool = script[name]
    program.member = next(iter(script[name])) if issubclass_of_enum(script[name]) else None
    mlflow.dspy.save_model(program, "model")
    loaded = mlflow.dspy.load_model("model")
    assert (loaded.member is None) or loaded.member == program.member


def issubclass_of_enum(code: type | FunctionType) -> bool:
    return isinstance(code, type) and issubclass(code, enum.Enum)


def test_a_signature_made_of_text_may_name_its_fields_like_secrets():
    mlflow.dspy.save_model(dspy.Predict("token, password -> secret, api_key"), "model")
    assert list(mlflow.dspy.load_model("model").signature.fields) == [
        "token",
        "password",
        "secret",
        "api_key",
    ]


def test_instructions_with_a_secret_stop_the_saving():
    program = dspy.Predict("question -> answer")
    program.signature = program.signature.with_instructions(f"Use the key {FORMED}.")
    with pytest.raises(SecretError, match="in __doc__"):
        mlflow.dspy.save_model(program, "model")


def in_demo(program):
    program.answer.predict.demos = [dspy.Example(query=f"key {CANARY}", answer="b")]


def in_attribute(program):
    program.whatever = [CANARY]


def in_instructions(program):
    signature = program.rewrite.signature
    program.rewrite.signature = signature.with_instructions(f"Use {CANARY}.")


def in_closure(program):
    program.tool = lambda: program_key(CANARY)


def program_key(key):
    return key


@pytest.mark.parametrize("by_dspy", [False, True])
@pytest.mark.parametrize("place", [in_demo, in_attribute, in_instructions, in_closure])
def test_the_value_of_a_secret_variable_of_the_environment_stops_the_saving(place, by_dspy, monkeypatch):
    monkeypatch.setenv("SOME_SERVICE_TOKEN", CANARY)
    program = QA()
    place(program)
    with pytest.raises(SecretError, match="environment variable SOME_SERVICE_TOKEN") as caught:
        mlflow.dspy.save_model(program, "model", use_dspy_model_save=by_dspy)
    assert CANARY not in str(caught.value)
    assert not Path("model").exists()


@pytest.mark.parametrize(
    "beside",
    [
        {"input_example": f"is it {CANARY}?"},
        {"metadata": {"note": CANARY}},
        {"model_config": {"note": CANARY}},
    ],
    ids=str,
)
@pytest.mark.parametrize("known_from", ["environment", "language model"])
def test_a_known_secret_beside_the_program_stops_the_saving(beside, known_from, monkeypatch):
    if known_from == "environment":
        monkeypatch.setenv("SOME_SERVICE_TOKEN", CANARY)
    else:
        dspy.configure(lm=dspy.LM("openai/m", api_key=CANARY))
    with pytest.raises(SecretError, match="(SOME_SERVICE_TOKEN|LM.kwargs.api_key)"):
        mlflow.dspy.save_model(QA(), "model", **beside)
    assert not Path("model").exists()


def test_a_key_that_also_stands_where_nobody_would_look_stops_the_saving():
    dspy.configure(lm=dspy.LM("openai/m", api_key=CANARY))
    program = QA()
    program.whatever = {"x": [CANARY]}
    with pytest.raises(SecretError, match=r"a secret of the program \(LM.kwargs.api_key\)"):
        mlflow.dspy.save_model(program, "model")


def test_a_private_key_of_several_lines_is_found_however_it_is_written(monkeypatch):
    body = "MIIBOgIBAAJBAKj34GkxFhD9"
    monkeypatch.setenv("MY_PRIVATE_KEY", f"-----BEGIN KEY-----\n{body}0123\n-----END KEY-----\n")
    with pytest.raises(SecretError, match="MY_PRIVATE_KEY"):
        mlflow.dspy.save_model(QA(), "model", metadata={"note": f"a\n{body}0123\n"})


def test_code_files_with_a_secret_stop_the_saving():
    Path("own_code.py").write_text(f"KEY = {FORMED!r}\n")
    with pytest.raises(SecretError, match="code/own_code.py holds a text"):
        mlflow.dspy.save_model(QA(), "model", code_paths=["own_code.py"])
    assert not Path("model").exists()
    Path("own_code.py").write_text("KEY = None\n")
    mlflow.dspy.save_model(QA(), "model", code_paths=["own_code.py"])
    assert files_with("model", "KEY = None")
