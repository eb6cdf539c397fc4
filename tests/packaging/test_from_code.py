"""Models from code: a script that sets a program, and what an optimizer has made of it."""

import json
import sys
import threading
from pathlib import Path

import dspy
import mlflow
import pytest
from mlflow.exceptions import MlflowException

from mlflow_dspy_plugin.errors import ModelFolderError, ProgramError, SecretError
from tests.fakes.scripted import scripted_lm
from tests.packaging.checks import files_with, prompt_of
from tests.packaging.no_store import store  # noqa: F401

SCRIPT = """
import dspy
import mlflow

class QA(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.Predict("question -> answer")

    def forward(self, question):
        return self.answer(question=question.strip())

mlflow.models.set_model(QA())
"""
QUESTION = {"question": " Who sails? "}
SECRET = "canary-7f3b9a1c5d2e4f6a8b"


def script(text: str = SCRIPT, name: str = "program.py") -> Path:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def saved(text: str = SCRIPT, folder: str = "model", **options) -> str:
    mlflow.dspy.save_model(script(text), folder, **options)
    return folder


def optimized() -> dspy.Module:
    """The same program as an optimizer leaves it, of a class that the script does not know."""
    program = dspy.Module()
    program.answer = dspy.Predict("question -> answer")
    program.answer.signature = program.answer.signature.with_instructions("Answer like a sailor.")
    program.answer.demos = [dspy.Example(question="Ship?", answer="Aye").with_inputs("question")]
    return program


def test_the_script_runs_again_where_the_model_loads():
    """MLflow's own flavor logs such a path, and gives it back as a text."""
    folder = saved()
    Path("program.py").unlink()
    loaded = mlflow.dspy.load_model(folder)
    assert type(loaded).__name__ == "QA"
    with dspy.context(lm=scripted_lm({"answer": "Aye"})):
        assert loaded(**QUESTION).answer == "Aye"
    assert Path(folder, "data/program.py").read_text() == SCRIPT
    assert {path.name for path in Path(folder, "data").iterdir()} == {"program.py", "program.json"}


def test_it_answers_behind_pyfunc_and_has_a_signature():
    folder = saved(SCRIPT, input_example={"question": "Who?"})
    model = mlflow.pyfunc.load_model(folder)
    model.get_raw_model().set_lm(scripted_lm({"answer": "Aye"}))
    assert model.predict({"question": "Who?"}) == {"answer": "Aye"}
    assert model.metadata.signature.inputs.input_names() == ["question"]


def test_settings_travel_beside_the_script():
    dspy.configure(lm=dspy.LM("openai/gpt-4o-mini", temperature=0.4, api_base="http://127.0.0.1:1/v1", api_key=SECRET))
    folder = saved()
    dspy.configure(lm=None)
    mlflow.dspy.load_model(folder)
    assert (dspy.settings.lm.model, dspy.settings.lm.kwargs["temperature"]) == ("openai/gpt-4o-mini", 0.4)
    assert dspy.settings.lm.kwargs["api_base"] == "http://127.0.0.1:1/v1"
    assert files_with(folder, SECRET) == []


# -- a compiled state -----------------------------------------------------------------------------


def of_json():
    optimized().save("state.json")
    return "state.json"


@pytest.mark.parametrize(
    "state",
    [optimized, lambda: optimized().dump_state(), of_json, lambda: Path(of_json())],
    ids=["program", "dict", "path", "Path"],
)
def test_a_compiled_state_is_laid_over_the_script_s_program(state):
    loaded = mlflow.dspy.load_model(saved(compiled_state=state()))
    assert type(loaded).__name__ == "QA"
    assert loaded.answer.signature.instructions == "Answer like a sailor."
    assert [dict(demo) for demo in loaded.answer.demos] == [{"question": "Ship?", "answer": "Aye"}]
    assert prompt_of(loaded, **QUESTION) == prompt_of(optimized().answer, question="Who sails?")


def test_the_language_model_of_a_predictor_keeps_its_address_and_loses_its_key():
    state = optimized()
    state.answer.lm = dspy.LM("openai/small", api_base="http://127.0.0.1:1/v1", api_key=SECRET, temperature=0.2)
    folder = saved(compiled_state=state)
    lm = mlflow.dspy.load_model(folder).answer.lm
    assert (lm.model, lm.kwargs["api_base"], lm.kwargs["temperature"]) == ("openai/small", "http://127.0.0.1:1/v1", 0.2)
    assert files_with(folder, SECRET) == []


def test_a_state_with_types_in_its_demos_is_written_as_json():
    import datetime

    import pydantic

    class Place(pydantic.BaseModel):
        name: str

    state = optimized()
    state.answer.demos = [dspy.Example(question=Place(name="Rome"), answer=datetime.date(2024, 2, 29), n=(1, 2))]
    state.answer.demos[0] = state.answer.demos[0].with_inputs("question")
    (demo,) = mlflow.dspy.load_model(saved(compiled_state=state)).answer.demos
    assert "Rome" in str(demo["question"]) and "2024-02-29" in str(demo["answer"])


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (3, r"The compiled state is int\. Give an optimized program"),
        ([1], r"The compiled state is list\. Give an optimized program"),
        ("missing.json", r"The compiled state 'missing.json' cannot be read .*\. Give the JSON file"),
        ("program.py", r"The compiled state 'program.py' cannot be read .*\. Give the JSON file"),
        (
            {"other": {}},
            r"The compiled state does not fit the program of the script \(KeyError: 'answer'\)\. It has \['other'\], the program has \['answer'\]",
        ),
        ({"answer": {"demos": []}}, r"The compiled state does not fit the program of the script"),
        ({"answer": {"demos": [object()]}}, r"The compiled state cannot be saved as JSON: it holds a object"),
        (lambda: dspy.Predict("a -> b"), r"The compiled state does not fit the program of the script"),
    ],
)
def test_what_is_no_state_of_the_program_is_refused(state, message):
    with pytest.raises(ProgramError, match=message):
        saved(compiled_state=state() if callable(state) else state)
    assert not Path("model").exists() or not any(Path("model").iterdir())


def test_a_state_is_for_scripts():
    with pytest.raises(ProgramError, match="A compiled_state is laid over the program of a script"):
        mlflow.dspy.save_model(optimized(), "model", compiled_state=optimized())


# -- scripts that cannot be saved -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", r"The script program.py sets no model \(ZeroDivisionError: division by zero\)"),
        ("def (", r"The script program.py sets no model \(SyntaxError: "),
        ("import nowhere_at_all", r"The script program.py sets no model \(ModuleNotFoundError: .*nowhere_at_all"),
        ("x = 1", r"The script program.py sets no model \(.*set_model"),
        ("import mlflow\nmlflow.models.set_model(print)", r"The script program.py sets builtin_function_or_method as"),
        ("import mlflow\nmlflow.models.set_model(3)", r"The script program.py sets no model \(MlflowException: "),
        ("import mlflow\nmlflow.models.set_model('x.py')", r"The script program.py sets no model \(MlflowException: "),
        (f"raise ValueError('Bear' + 'er {SECRET}')", r"The script program.py sets no model \(ValueError: "),
    ],
)
def test_a_script_that_sets_no_program_is_refused(text, message):
    with pytest.raises(ProgramError, match=message) as error:
        saved(text)
    assert "mlflow.models.set_model(program)" in str(error.value)
    assert SECRET not in str(error.value)
    assert not Path("model").exists()


def test_a_script_that_sets_nothing_does_not_get_the_program_of_the_last_one():
    saved()
    mlflow.models.set_model(dspy.Predict("a -> b"))
    with pytest.raises(ProgramError, match="The script program.py sets no model"):
        saved("x = 1", "second")


@pytest.mark.parametrize("path", ["missing.py", "folder", Path("missing.py"), "some text that is no path"])
def test_a_path_that_leads_to_no_script_is_refused(path):
    Path("folder").mkdir()
    with pytest.raises(ProgramError, match=r"There is no script .*Give a dspy\.Module, or the path of a Python file"):
        mlflow.dspy.save_model(path, "model")


@pytest.mark.parametrize(
    "line",
    [
        f"API_KEY = '{SECRET}'",
        f"lm = dspy.LM('openai/x', api_key='{SECRET}')",
        f"HEADERS = {{'Authorization': 'Bearer {SECRET}'}}",
        "KEY = 'sk-proj-0123456789abcdefghijABCDEFGHIJ'",
    ],
)
def test_a_secret_in_the_script_is_refused_before_it_runs(line):
    text = SCRIPT.replace("class QA", f"open('ran', 'w').close()\n{line}\nclass QA")
    with pytest.raises(SecretError, match="The script program.py holds a text that looks like a secret"):
        saved(text)
    assert not Path("ran").exists() and not Path("model").exists()


def test_the_value_of_a_secret_variable_in_the_script_is_refused(monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "an innocent looking text")
    with pytest.raises(SecretError, match="The script program.py holds a text that looks like a secret"):
        saved(SCRIPT + "\nnote = 'an innocent looking text'\n")


# -- modules beside the script --------------------------------------------------------------------


HELPED = "import helper_of_script\n" + SCRIPT.replace("question.strip()", "helper_of_script.clean(question)")


def test_a_helper_beside_the_script_is_shipped_with_it(on_path, tmp_path):
    on_path({"helper_of_script.py": "import words_of_script\ndef clean(text): return words_of_script.WORD + text\n"})
    Path("own/words_of_script.py").write_text("WORD = 'Please'\n")
    folder = saved(HELPED)
    assert {path.name for path in Path(folder, "code").rglob("*.py")} == {"helper_of_script.py", "words_of_script.py"}
    for path in Path("own").iterdir():
        if path.is_file():
            path.unlink()
    for name in ("helper_of_script", "words_of_script"):
        del sys.modules[name]
    assert "Please Who sails?" in str(prompt_of(mlflow.dspy.load_model(folder), **QUESTION))


def test_a_helper_that_only_the_script_itself_uses_is_shipped_too(on_path):
    on_path({"settings_of_script.py": "FIELDS = 'question -> answer'\n"})
    text = "from settings_of_script import FIELDS\n" + SCRIPT.replace('"question -> answer"', "FIELDS")
    folder = saved(text)
    assert [path.name for path in Path(folder, "code").rglob("*.py")] == ["settings_of_script.py"]


def test_a_helper_that_was_not_shipped_is_named_where_it_is_missing(on_path):
    on_path({"helper_of_script.py": "def clean(text): return text\n"})
    folder = saved(HELPED, infer_code_paths=False)
    Path("own/helper_of_script.py").unlink()
    del sys.modules["helper_of_script"]
    with pytest.raises(ModelFolderError, match="helper_of_script"):
        mlflow.dspy.load_model(folder)


# -- where it loads -------------------------------------------------------------------------------


@pytest.mark.parametrize(("trust", "refused"), [("data", True), ("code", False), ("pickle", False)])
def test_a_script_is_run_only_where_code_is_trusted(monkeypatch, trust, refused):
    folder = saved(SCRIPT.replace("class QA", "open('ran', 'w').close()\nclass QA"))
    Path("ran").unlink()
    monkeypatch.setenv("MLFLOW_DSPY_TRUST", trust)
    if refused:
        with pytest.raises(ModelFolderError, match=r"brings or names code, and MLFLOW_DSPY_TRUST is 'data' here"):
            mlflow.dspy.load_model(folder)
    else:
        mlflow.dspy.load_model(folder)
    assert Path("ran").exists() is not refused


def test_a_script_needs_no_pickles(monkeypatch):
    folder = saved(compiled_state=optimized())
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    assert mlflow.dspy.load_model(folder).answer.demos


def test_inspecting_it_runs_nothing():
    folder = saved(SCRIPT.replace("class QA", "open('ran', 'w').close()\nclass QA"))
    Path("ran").unlink()
    report = mlflow.dspy.inspect_model(folder)
    assert (report.kind, report.serialization_format) == ("code", "code")
    assert "class QA" in report.sources["data/program.py"]
    assert not Path("ran").exists()


def test_a_script_that_fails_where_it_loads_is_told_with_its_model():
    Path("needed").write_text("x")
    folder = saved("import pathlib\npathlib.Path('needed').read_text()\n" + SCRIPT)
    Path("needed").unlink()
    with pytest.raises(ModelFolderError, match=r"cannot be made here\. The script program.py sets no model \(FileNotF"):
        mlflow.dspy.load_model(folder)


def test_two_threads_that_load_get_their_own_programs():
    folders = [saved(SCRIPT.replace("QA", f"QA{n}"), f"model{n}") for n in range(4)]
    found = {}

    def load(folder):
        found[folder] = type(mlflow.dspy.load_model(folder, configure=False)).__name__

    threads = [threading.Thread(target=load, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {f"model{n}": f"QA{n}" for n in range(4)}


def test_a_program_of_a_script_that_was_loaded_can_be_saved_once_more():
    loaded = mlflow.dspy.load_model(saved(compiled_state=optimized()))
    mlflow.dspy.save_model(loaded, "again")
    again = mlflow.dspy.load_model("again")
    assert prompt_of(again, **QUESTION) == prompt_of(loaded, **QUESTION)


@pytest.mark.parametrize("given", [str, Path, lambda path: path.resolve()])
def test_the_path_may_be_a_text_or_a_path(given):
    mlflow.dspy.save_model(given(script()), "model")
    assert json.loads(Path("model/data/program.json").read_text())["program"] is None
    with pytest.raises(MlflowException):
        mlflow.dspy.save_model(given(script()), "model")
