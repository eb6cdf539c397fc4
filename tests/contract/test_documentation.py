"""What is said of the public names: annotations, docstrings and `help(mlflow.dspy)`."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
import textwrap
import typing
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import dspy
import mlflow
import mlflow.genai.datasets
import pytest

import mlflow_dspy_plugin
from mlflow_dspy_plugin import errors
from mlflow_dspy_plugin.names import PUBLIC_NAMES

ROOT = Path(mlflow_dspy_plugin.__file__).parent
EMPTY = inspect.Parameter.empty
# A call of each that may raise, with what it cannot take.
REFUSED = {
    "autolog": lambda: mlflow.dspy.autolog(sampling_ratio=2),
    "compare": lambda: mlflow.dspy.compare("a" * 32, "b" * 32),
    "examples_from_records": lambda: mlflow.dspy.examples_from_records([{"expectations": {"answer": "a"}}]),
    "examples_from_traces": lambda: mlflow.dspy.examples_from_traces([1]),
    "examples_to_records": lambda: mlflow.dspy.examples_to_records([1]),
    "inspect_model": lambda: mlflow.dspy.inspect_model("missing"),
    "judge": lambda: mlflow.dspy.judge(1, name="right"),
    "load_model": lambda: mlflow.dspy.load_model("missing"),
    "load_prompts": lambda: mlflow.dspy.load_prompts(dspy.Predict("a -> b"), "prompts:/missing/1"),
    "log_model": lambda: mlflow.dspy.log_model(1, name="one"),
    "metric": lambda: mlflow.dspy.metric(1),
    "register_prompts": lambda: mlflow.dspy.register_prompts(1, "one"),
    "save_model": lambda: mlflow.dspy.save_model(1, "one"),
    "scorer": lambda: mlflow.dspy.scorer(1),
    "to_predict_fn": lambda: mlflow.dspy.to_predict_fn("missing"),
    "_load_pyfunc": lambda: mlflow.dspy._load_pyfunc("missing"),
}
# They refuse nothing.
NEVER_REFUSING = {
    "context",
    "get_default_conda_env",
    "get_default_pip_requirements",
    "trace_id_of",
    "track_optimization",
}


@pytest.fixture(params=PUBLIC_NAMES)
def public(request) -> Callable:
    """Each public function."""
    return getattr(mlflow.dspy, request.param)


def section(function: Callable, title: str) -> dict[str, str]:
    """The entries of a section of a docstring by their names, or its text under the name "" where it has none."""
    found = re.search(rf"^{title}:\n((?:    .*\n|\n)+)", inspect.getdoc(function) + "\n", re.MULTILINE)
    text = textwrap.dedent(found[1]) if found else ""
    entries = dict(re.findall(r"^(\w+): (.+(?:\n .+)*)", text, re.MULTILINE))
    return entries if title in ("Args", "Raises") else {"": text.strip()}


def raised_in(function: Callable) -> set[str]:
    """The names of the exceptions that its own body raises."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    raised = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)]
    return {ast.unparse(call.func) for call in raised}


def test_every_parameter_and_what_is_returned_has_a_type_that_resolves(public):
    signature, hints = inspect.signature(public), typing.get_type_hints(public)
    assert [name for name, each in signature.parameters.items() if each.annotation is EMPTY] == []
    assert set(hints) == {*signature.parameters, "return"}


def test_the_docstring_says_what_each_parameter_is(public):
    assert list(section(public, "Args")) == list(inspect.signature(public).parameters)


def test_the_docstring_says_what_comes_back(public):
    gives = typing.get_type_hints(public)["return"]
    is_block = typing.get_origin(gives) in (Iterator, Generator)
    given = typing.get_args(gives)[0] if is_block else gives
    assert bool(section(public, "Yields" if is_block else "Returns")[""]) is (given not in (None, type(None)))


def test_the_docstring_says_which_errors_its_body_raises(public):
    told = section(public, "Raises")
    assert raised_in(public) <= set(told)
    assert all(issubclass(getattr(errors, name), errors.DspyPluginError) for name in told)


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_an_error_that_is_raised_is_told_in_the_docstring(name):
    told = section(getattr(mlflow.dspy, name), "Raises")
    assert bool(told) is (name in REFUSED) is (name not in NEVER_REFUSING)
    if told:
        with pytest.raises(tuple(getattr(errors, each) for each in told)):
            REFUSED[name]()


def test_the_stub_for_type_checkers_names_what_is_there_at_run_time():
    stub = ast.parse((ROOT / "__init__.pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    found = {alias.asname: (node.module, alias.name) for node in imports for alias in node.names}
    assert found == {name: (f"{ROOT.name}.{home}", name) for name, home in PUBLIC_NAMES.items()}
    assert (ROOT / "py.typed").is_file()


def test_the_module_says_of_each_name_where_it_belongs():
    listed = re.findall(r"`(\w+)`", mlflow_dspy_plugin.__doc__)
    assert sorted(listed) == mlflow_dspy_plugin.__all__


def test_what_the_module_names_of_mlflow_and_dspy_is_there():
    named = re.findall(r"`((?:mlflow|dspy)[\w.]*\.\w+)`", mlflow_dspy_plugin.__doc__)
    assert len(named) > 10
    for path in named:
        module, _, attribute = path.rpartition(".")
        home = importlib.import_module(module) if module != "mlflow.dspy" else mlflow.dspy
        assert hasattr(home, attribute) or importlib.import_module(path), path


def test_help_shows_each_public_name_with_its_first_line_and_importing_does_not_import_dspy(tmp_path):
    code = (
        "import mlflow, pydoc, sys; face = mlflow.dspy; names = dir(face), face.__all__; "
        "assert 'dspy' not in sys.modules; print(pydoc.plain(pydoc.render_doc(face)))"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    shown = process.stdout
    assert "    mlflow.dspy - DSPy support for MLflow" in shown and "Prompts, in the registry" in shown
    for name in mlflow_dspy_plugin.__all__:
        first = inspect.getdoc(getattr(mlflow.dspy, name)).splitlines()[0]
        assert re.search(rf"^    {name}\(.*\n        {re.escape(first)}$", shown, re.MULTILINE), name
