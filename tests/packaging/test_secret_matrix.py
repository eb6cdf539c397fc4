"""A canary in every place where a secret can sit, against every byte that leaves, in every format."""

import re
import traceback
from collections.abc import Iterator
from pathlib import Path

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.errors import DspyPluginError, SecretError
from tests.packaging.canaries import CANARIES, VARIABLE, files_with_canary, holds_canary
from tests.packaging.no_store import store  # noqa: F401
from tests.packaging.own_modules import program_in, written
from tests.packaging.secret_holders import weather
from tests.packaging.secret_places import PLACES, PLAIN, Given, Place, set_to

pytestmark = pytest.mark.usefixtures("environment")


def save(given: Given, folder: str, format_: str | None) -> BaseException | None:
    """Save it under its settings; returns the error that stopped it."""
    options = {"use_dspy_model_save": True} if format_ == "dspy" else {"serialization_format": format_}
    if format_ == "script":
        options = {}
    written(Path(), given.files)
    with dspy.context(**given.settings):
        try:
            mlflow.dspy.save_model(given.program, folder, **{"infer_code_paths": False, **options, **given.arguments})
        except SecretError as error:
            return error
    return None


def check_outcome(place: Place, canary: str, folder: str, error: BaseException | None) -> None:
    """Whether that became of the canary which the table says, and the report says so."""
    outcome, where = place.outcomes[canary], place.where
    if outcome == "refused":
        assert error is not None, "not refused"
        assert re.search(where, str(error)), str(error)
        assert not Path(folder).exists()
        return
    assert error is None, str(error)
    left_out = mlflow.models.Model.load(folder).flavors["dspy"].get("left_out", {})
    if outcome == "forgotten":
        assert not left_out
        return
    places = [place for place in left_out if re.search(where, place)]
    assert places, left_out
    if place.noted and canary == "of the environment":
        assert VARIABLE in {left_out[each] for each in places}, left_out


def cases_of(name: str) -> Iterator[tuple[str | None, str]]:
    """Every format with some canary and every canary in some format, in other pairs for other places."""
    place, start = PLACES[name], list(PLACES).index(name)
    canaries = list(place.outcomes)
    for number in range(max(len(place.formats), len(canaries))):
        yield place.formats[number % len(place.formats)], canaries[(start + number) % len(canaries)]


@pytest.mark.parametrize("name", PLACES)
def test_no_secret_leaves_from(name, said):
    place = PLACES[name]
    for number, (format_, canary) in enumerate(cases_of(name)):
        folder = f"model{number}"
        error = save(place.put(CANARIES[canary]), folder, format_)
        printed = said() + "".join(traceback.format_exception(error) if error else ())
        assert not files_with_canary(folder), (format_, canary)
        assert not holds_canary(printed.encode()), (format_, canary, printed)
        check_outcome(place, canary, folder, error)


@pytest.mark.parametrize("canary", CANARIES)
@pytest.mark.parametrize("source", ["API_KEY = {!r}", "class Api:\n    def call(self, token={!r}): ..."])
def test_no_secret_leaves_from_an_own_module_that_is_found(source, canary, module, said):
    program = module("found_module", {"found_module.py": program_in(source.format(CANARIES[canary]))}).Program()
    with pytest.raises(SecretError, match=r"found_module\.py") as caught:
        mlflow.dspy.save_model(program, "model")
    assert not Path("model").exists()
    assert not holds_canary((said() + str(caught.value)).encode())


GIVEN_WRONGLY = {
    "a list as model_config": {"model_config": [CANARIES["of no form"]]},
    "a file as model_config": {"model_config": "config.yaml"},
    "a field of an example": {"input_example": {CANARIES["of a known form"]: "x"}},
    "a program": {"model": {"api_key": CANARIES["of no form"]}},
}


@pytest.mark.parametrize("kind", GIVEN_WRONGLY)
def test_no_error_quotes_a_secret(kind):
    Path("config.yaml").write_text(f"api_key: {CANARIES['of no form']}\n b: [\n")
    with pytest.raises(DspyPluginError) as caught:
        mlflow.dspy.save_model(**{"model": dspy.Predict("question -> answer"), "path": "model", **GIVEN_WRONGLY[kind]})
    assert not holds_canary("".join(traceback.format_exception(caught.value)).encode())


# -- what only looks like one -------------------------------------------------------------------

LOOKALIKES = {
    "url": "https://user:${PASSWORD}@host/v1",
    "template": "postgresql://{user}:{password}@host/db",
    "page": "https://host/list?next_page=0123456789&design=0123456789",
    "question": "Which token is in the password field, sk-learn or task-oriented-dialogue-systems?",
    "data": b"\x89PNG\xff\x00 sk-",
    "max_tokens": 5,
    "api_key_env": "MY_VARIABLE_1",
    "headers": {"User-Agent": "tests", "Accept": "text/plain"},
    "columns": ("token", "password"),
    "path": Path("/run/secrets/api_key"),
}


@pytest.mark.parametrize("format_", PLAIN)
def test_what_only_looks_like_a_secret_is_saved_as_it_is(format_):
    program = set_to(dspy.Predict("token, password -> secret"), **LOOKALIKES)
    program.find_passwords = dspy.ChainOfThought("text -> passwords")
    program.tool = dspy.Tool(weather, args={"api_key": {"type": "string", "description": "the key"}})
    program.demos = [{"token": "noun-00001", "password": "Tr0ub4dor&3", "secret": "none"}]
    error = save(
        Given(
            program,
            arguments={
                "metadata": {"max_tokens": 5, "template": LOOKALIKES["template"]},
                "extra_pip_requirements": ["--extra-index-url https://${USER}:${TOKEN}@host/simple"],
                "input_example": {"token": "noun-00002", "password": "correct-horse-1"},
            },
        ),
        "model",
        format_,
    )
    assert error is None
    assert "left_out" not in mlflow.models.Model.load("model").flavors["dspy"]
    loaded = mlflow.dspy.load_model("model")
    assert {name: getattr(loaded, name) for name in LOOKALIKES} == LOOKALIKES
    assert loaded.demos == program.demos
    assert loaded.tool.args == program.tool.args
    assert list(loaded.find_passwords.predict.signature.output_fields) == ["reasoning", "passwords"]
    assert "https://${USER}:${TOKEN}@host/simple" in Path("model/requirements.txt").read_text()


SHIPPED_LOOKALIKES = {
    "a.py": "import os\nAPI_KEY = os.environ['MY_API_KEY']\nURL = f'https://u:{API_KEY}@host'\n"
    "TOKEN_NAME = 'projects/123/secrets/one'\ndef f(token='<|endoftext|>'): ...\n# password: ask for it\n",
    ".env.example": "OPENAI_API_KEY=\nOTHER_API_KEY=<your-key-here-0>\nTOKEN=${CI_TOKEN_1}\nREGION=eu-central-1\n",
    "demos.json": '[{"password": "Tr0ub4dor&3-0001", "token": "noun-00001"}]',
    "config.yaml": "api_key: ${MY_API_KEY_1}\nmax_tokens: 100000000\n",
    "notes.md": "Set api_key=... and see https://host/a?x=1\n",
}


def test_shipped_files_that_only_look_as_if_they_held_one_are_shipped():
    given = Given(arguments={"code_paths": ["kept"]}, files={f"kept/{k}": v for k, v in SHIPPED_LOOKALIKES.items()})
    assert save(given, "model", "json") is None
    assert {name: Path("model/code/kept", name).read_text() for name in SHIPPED_LOOKALIKES} == SHIPPED_LOOKALIKES
