"""`model_config`: arguments of a program's constructor, and what a script reads by `mlflow.models.ModelConfig`."""

import json
import logging
from pathlib import Path

import dspy
import mlflow
import pytest
import yaml

from mlflow_dspy_plugin.errors import InputError, ModelFolderError, ProgramError
from tests.fakes.scripted import scripted_lm
from tests.packaging.checks import files_with
from tests.packaging.no_store import store  # noqa: F401
from tests.packaging.programs import weather

SECRET = "canary-7f3b9a1c5d2e4f6a8b"


class QA(dspy.Module):
    """A program of four arguments, of which one makes no attribute but a predictor's configuration."""

    def __init__(self, passages: int, style: str = "plain", temperature: float = 0.5, *, loud: bool = False):
        super().__init__()
        self.passages = passages
        self.style = style
        self.temperature = temperature
        self.loud = loud
        self.query = dspy.Predict("question, style -> query")
        self.answer = dspy.ChainOfThought("query, passages: int -> answer", temperature=temperature)

    def forward(self, question):
        query = self.query(question=question, style=self.style).query
        return self.answer(query=query, passages=self.passages)


class Anything(dspy.Module):
    def __init__(self, **options):
        super().__init__()
        self.options = options


class Forgetful(dspy.Module):
    def __init__(self, passages, style="plain"):
        super().__init__()
        self._passages, self.style = passages, style


class Doubling(dspy.Module):
    def __init__(self, passages, style="plain"):
        super().__init__()
        self.passages, self.style = passages * 2, style


class Refusing(dspy.Module):
    def __init__(self, passages=1):
        super().__init__()
        if passages > 5:
            raise ValueError("too many")
        self.passages = passages


SCRIPT = """
import dspy, mlflow
config = mlflow.models.ModelConfig(development_config={"passages": 1})
class QA(dspy.Module):
    def __init__(self, passages, style):
        super().__init__()
        self.passages, self.style = passages, style
        self.answer = dspy.Predict("question -> answer")
mlflow.models.set_model(QA(config.get("passages"), config.get("style")))
"""


def saved(program, model_config, folder="model", **options):
    mlflow.dspy.save_model(program, folder, model_config=model_config, infer_code_paths=False, **options)
    return folder


def script(text=SCRIPT):
    Path("program.py").write_text(text)
    return "program.py"


def in_file(name, values):
    text = json.dumps(values) if name.endswith(".json") else yaml.safe_dump(values)
    Path(name).write_text(text)
    return name


def optimized():
    program = QA(3)
    program.answer.predict.demos = [dspy.Example(query="q", answer="a").with_inputs("query")]
    program.answer.predict.signature = program.answer.predict.signature.with_instructions("Like a sailor.")
    program.query.lm = dspy.LM("openai/small", temperature=0.3)
    return program


def told(program):
    return (program.passages, program.style, program.temperature, program.loud, program.answer.predict.config)


# -- programs of the user's -----------------------------------------------------------------------


@pytest.mark.parametrize("serialization_format", ["json", "cloudpickle"])
def test_the_program_is_made_with_these_arguments_and_keeps_what_it_has_learnt(serialization_format):
    folder = saved(optimized(), {"passages": 7, "temperature": 0.9}, serialization_format=serialization_format)
    loaded = mlflow.dspy.load_model(folder)
    assert told(loaded) == (7, "plain", 0.9, False, {"temperature": 0.9})
    assert [dict(demo) for demo in loaded.answer.predict.demos] == [{"query": "q", "answer": "a"}]
    assert loaded.answer.predict.signature.instructions == "Like a sailor."
    assert loaded.query.lm.kwargs["temperature"] == 0.3


def test_what_was_logged_can_be_overridden_where_it_loads():
    folder = saved(optimized(), {"passages": 7, "style": "short"})
    assert told(mlflow.dspy.load_model(folder, model_config={"passages": 9}))[:2] == (9, "short")
    # Nothing of it stays.
    assert told(mlflow.dspy.load_model(folder))[:2] == (7, "short")


@pytest.mark.parametrize("name", ["config.yaml", "config.yml", "config.json"])
@pytest.mark.parametrize("as_path", [str, Path])
def test_it_may_stand_in_a_file(name, as_path):
    folder = saved(QA(3), as_path(in_file(name, {"passages": 7, "style": "short"})))
    Path(name).unlink()
    assert told(mlflow.dspy.load_model(folder))[:2] == (7, "short")


def test_pyfunc_applies_and_overrides_it():
    folder = saved(QA(3), {"passages": 7, "style": "short"})
    other = in_file("other.yaml", {"passages": 11})
    found = []
    for given in (None, {"passages": 9}, other):
        model = mlflow.pyfunc.load_model(folder, model_config=given)
        lm = scripted_lm({"query": "q", "reasoning": "r", "answer": "a"})
        model.get_raw_model().set_lm(lm)
        model.predict({"question": "Who?"})
        found.append((told(model.get_raw_model())[:2], model.model_config, str(lm.script.requests)))
    assert [each[0] for each in found] == [(7, "short"), (9, "short"), (11, "short")]
    assert [each[1] for each in found] == [{"passages": n, "style": "short"} for n in (7, 9, 11)]
    assert [f"[[ ## passages ## ]]\\n{n}" in each[2] for each, n in zip(found, (7, 9, 11), strict=True)] == [True] * 3


def test_an_environment_variable_of_mlflow_s_overrides_it_too(monkeypatch):
    folder = saved(QA(3), {"passages": 7})
    monkeypatch.setenv("MLFLOW_PYFUNC_INFERENCE_CONFIG", '{"passages": 9}')
    assert mlflow.pyfunc.load_model(folder).get_raw_model().passages == 9


def test_a_key_that_was_not_logged_is_refused():
    folder = saved(QA(3), {"passages": 7})
    with pytest.raises(InputError, match=r"model_config has 'style', but the model was logged with \['passages'\]"):
        mlflow.dspy.load_model(folder, model_config={"style": "x"})
    with pytest.raises(InputError, match="model_config has 'style', but the model was logged with none"):
        mlflow.dspy.load_model(saved(QA(3), None, "second"), model_config={"style": "x"})


def test_a_key_that_no_argument_is_called_is_stored_with_one_warning(caplog):
    caplog.set_level(logging.WARNING, "mlflow_dspy_plugin")
    folder = saved(QA(3), {"passages": 7, "color": "red", "size": 2})
    assert [record.getMessage() for record in caplog.records if "model_config" in record.getMessage()] == [
        "model_config has 'color', 'size', which QA does not take: stored, but without effect."
    ]
    assert told(mlflow.dspy.load_model(folder, model_config={"color": "blue"}))[0] == 7
    assert mlflow.pyfunc.load_model(folder).model_config == {"passages": 7, "color": "red", "size": 2}


def test_a_constructor_that_takes_any_argument_gets_all():
    loaded = mlflow.dspy.load_model(saved(Anything(a=1), {"b": 2}))
    assert loaded.options == {"b": 2}


@pytest.mark.parametrize("model_config", [None, {}, {"color": "red"}])
def test_without_arguments_the_program_is_the_one_that_was_saved(model_config):
    program = Doubling(3)
    program.extra = "set later"
    loaded = mlflow.dspy.load_model(saved(program, model_config))
    assert (loaded.passages, loaded.extra) == (6, "set later")


@pytest.mark.parametrize(
    ("program", "model_config", "message"),
    [
        (Forgetful(3), {"style": "x"}, r"Forgetful keeps no attribute 'passages' for its constructor\. Keep the"),
        (Doubling(3), {"style": "x"}, r"Doubling keeps as 'passages' what is not the argument"),
        (
            Refusing(),
            {"passages": 9},
            r"Refusing cannot be made with model_config \['passages'\] \(ValueError: too man",
        ),
        (QA(3), 3, r"model_config is int\. Give a dict with text keys"),
        (QA(3), [1], r"model_config is list"),
        (QA(3), {3: 4}, r"model_config is dict"),
        (QA(3), "missing.yaml", r"The model_config file cannot be read: .*missing\.yaml"),
    ],
)
def test_what_the_program_cannot_be_made_with_is_refused_when_it_is_saved(program, model_config, message):
    with pytest.raises(ProgramError, match=message):
        saved(program, model_config)
    assert not Path("model").exists()


def test_with_all_of_them_given_nothing_has_to_be_kept():
    loaded = mlflow.dspy.load_model(saved(Forgetful(3), {"passages": 4, "style": "x"}))
    assert (loaded._passages, loaded.style) == (4, "x")
    assert mlflow.dspy.load_model(saved(Doubling(3), {"passages": 4}, "second")).passages == 8


def test_a_value_that_the_constructor_refuses_where_it_loads_is_told():
    folder = saved(Refusing(), {"passages": 2})
    with pytest.raises(ProgramError, match=r"Refusing cannot be made with model_config .*too many.*Give values"):
        mlflow.dspy.load_model(folder, model_config={"passages": 9})


def test_a_secret_in_it_is_left_out():
    folder = saved(QA(3), {"passages": 7, "api_key": SECRET})
    assert files_with(folder, SECRET) == []
    assert mlflow.pyfunc.load_model(folder).model_config == {"passages": 7}


# -- programs of DSPy's ---------------------------------------------------------------------------


def multi_chain():
    return dspy.MultiChainComparison("question -> answer", M=3, temperature=0.7)


@pytest.mark.parametrize(
    ("make", "model_config", "found"),
    [
        (lambda: dspy.ReAct("question -> answer", tools=[weather], max_iters=3), {"max_iters": 9}, lambda p: p.max_iters),
        (lambda: dspy.Predict("a -> b", temperature=0.1), {"temperature": 9}, lambda p: p.config["temperature"]),
        (lambda: dspy.Predict("a -> b"), {"max_tokens": 9}, lambda p: p.config["max_tokens"]),
        (lambda: dspy.ChainOfThought("a -> b"), {"temperature": 9}, lambda p: p.predict.config["temperature"]),
        (multi_chain, {"M": 9}, lambda p: p.M),
        (multi_chain, {"temperature": 9}, lambda p: p.predict.config["temperature"]),
    ],
)  # fmt: skip
def test_a_program_of_dspy_s_gets_attributes_or_configuration_of_its_predictors(make, model_config, found, caplog):
    caplog.set_level(logging.WARNING, "mlflow_dspy_plugin")
    folder = saved(make(), model_config)
    assert found(mlflow.dspy.load_model(folder)) == 9
    other = dict.fromkeys(model_config, 4)
    assert found(mlflow.dspy.load_model(folder, model_config=other)) == 4
    assert not any("model_config" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("make", "model_config"),
    [
        (lambda: dspy.Predict("question -> answer"), {"signature": "a -> b"}),
        (lambda: dspy.ChainOfThought("question -> answer"), {"signature": "a -> b"}),
        (lambda: dspy.ReAct("question -> answer", tools=[weather]), {"tools": []}),
        (lambda: dspy.ReAct("question -> answer", tools=[weather]), {"temperature": 0.1}),
    ],
)
def test_what_would_break_a_program_of_dspy_s_has_no_effect(make, model_config, caplog):
    caplog.set_level(logging.WARNING, "mlflow_dspy_plugin")
    loaded = mlflow.dspy.load_model(saved(make(), model_config))
    assert any("stored, but without effect" in record.getMessage() for record in caplog.records)
    assert [p.config for p in loaded.predictors()] == [{}] * len(loaded.predictors())
    assert "question" in loaded.predictors()[0].signature.input_fields
    assert set(getattr(loaded, "tools", {"weather": 1, "finish": 2})) == {"weather", "finish"}


# -- scripts --------------------------------------------------------------------------------------


def test_a_script_reads_it_and_it_can_be_overridden():
    folder = saved(script(), {"passages": 7, "style": "short"})
    Path("program.py").unlink()
    program = mlflow.dspy.load_model(folder)
    assert (program.passages, program.style) == (7, "short")
    program = mlflow.dspy.load_model(folder, model_config={"style": "long"})
    assert (program.passages, program.style) == (7, "long")
    program = mlflow.pyfunc.load_model(folder, model_config={"passages": 9}).get_raw_model()
    assert (program.passages, program.style) == (9, "short")


def test_a_script_reads_it_from_a_file():
    folder = saved(script(), in_file("config.yaml", {"passages": 7, "style": "short"}))
    Path("config.yaml").unlink()
    assert mlflow.dspy.load_model(folder).passages == 7


def test_a_script_that_reads_it_and_gets_none_is_refused():
    with pytest.raises(ProgramError, match=r"Config file is not provided.*give what it reads .* as model_config"):
        saved(script(), None)
    with pytest.raises(ProgramError, match="KeyError.*'style'"):
        saved(script(), {"passages": 7})


def test_a_script_that_refuses_a_value_where_it_loads_is_told():
    text = SCRIPT.replace('get("style")', 'get("style").upper()')
    folder = saved(script(text), {"passages": 7, "style": "short"})
    with pytest.raises(ModelFolderError, match=r"cannot be made here\. .*AttributeError"):
        mlflow.dspy.load_model(folder, model_config={"style": 3})


def test_a_script_that_does_not_read_it_keeps_it():
    text = "import dspy, mlflow\nmlflow.models.set_model(dspy.Predict('question -> answer'))\n"
    folder = saved(script(text), {"temperature": 0.1})
    loaded = mlflow.dspy.load_model(folder)
    assert loaded.config == {}
    assert mlflow.pyfunc.load_model(folder).model_config == {"temperature": 0.1}
