"""What travels with a class or function of `__main__`, and in which order it is made."""

import itertools
import random

import pytest

from mlflow_dspy_plugin.errors import SecretError
from mlflow_dspy_plugin.plain.definitions import _in_order, _Step
from mlflow_dspy_plugin.plain.encode import Encoder
from mlflow_dspy_plugin.plain.namespace import Namespace
from mlflow_dspy_plugin.plain.nodes import NotPlain, Writer
from tests.packaging.cells import main  # noqa: F401
from tests.packaging.no_store import store  # noqa: F401


def steps_of(graph):
    return {name: _Step({}, set(now.split()), set(later.split())) for name, (now, later) in graph.items()}


def reached(graph, names, later):
    found, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(graph[name].now | (graph[name].later if later else set()))
    return found


@pytest.mark.parametrize(
    ("graph", "order"),
    [
        ({"a": ("", ""), "b": ("", "")}, "a b"),
        ({"a": ("b", ""), "b": ("c", ""), "c": ("", "")}, "c b a"),
        # What is called while `a` is made has to be there with all that it calls.
        ({"a": ("f", ""), "f": ("", "g"), "g": ("", "h"), "h": ("", "")}, "f g h a"),
        # Functions that call each other.
        ({"f": ("", "g"), "g": ("", "f"), "a": ("f", "")}, "f g a"),
        # A method of `a` names `b`, which is built on `a`.
        ({"a": ("", "b"), "b": ("a", "")}, "a b"),
        ({"b": ("a", ""), "a": ("f", "b"), "f": ("", "b")}, "f a b"),
        # Of what is not among them nobody knows.
        ({"a": ("missing", "missing")}, "a"),
    ],
)
def test_what_is_needed_at_once_comes_first(graph, order):
    steps = steps_of(graph)
    found = _in_order(steps)
    assert sorted(found) == sorted(steps)
    for name in steps:
        behind = found[found.index(name) :]
        assert not steps[name].now & set(behind)
    assert " ".join(found) == order


def random_graph(seed):
    draw = random.Random(seed)
    names = "abcde"
    graph = {
        # What is needed at once cannot be needed in a circle: the code has run before.
        name: _Step({}, {n for n in names[:i] if draw.random() < 0.3}, {n for n in names if draw.random() < 0.25})
        for i, name in enumerate(names)
    }
    return dict(draw.sample(sorted(graph.items()), len(graph)))


def faults(graph, order):
    """How often something is made before what it needs at once, and how often before what that calls."""
    early = [(name, other) for i, name in enumerate(order) for other in order[i:]]
    at_once = sum(other in graph[name].now for name, other in early)
    called = sum(other in reached(graph, graph[name].now, later=True) - {name} for name, other in early)
    return at_once, called


def test_an_order_without_faults_is_found_where_there_is_one():
    """Against all orders of small graphs."""
    for seed in range(200):
        graph = random_graph(seed)
        best = min(faults(graph, order) for order in itertools.permutations(graph))
        found = faults(graph, _in_order(graph))
        assert found[0] == best[0] == 0
        assert best[1] > 0 or found[1] == 0, graph


def written(encoder):
    return Writer().write(encoder.definitions.steps())


def made_of(steps, name):
    """What steps make of a name, in a namespace of their own; all that is no definition is a plain value or an import."""
    namespace = Namespace()
    for step in steps:
        namespace.take(step, lambda node: node)
    return namespace.get(name)


def test_what_a_function_names_travels_and_nothing_else(main):  # noqa: F811
    names = main(
        "import json as j, os.path\nfrom math import pi\nLIMIT, OTHER = 3, 4",
        "def helper(n):\n    return j.dumps([n, LIMIT, round(pi, 1), os.path.basename('a/b')])",
        "def unused(): return OTHER\ndef f(n):\n    return helper(n)",
    )
    encoder = Encoder()
    assert encoder.definitions.path_of(names["f"], "here") == ":f"
    steps = written(encoder)
    assert sorted(step["name"] for step in steps) == ["LIMIT", "f", "helper", "j", "os", "pi"]
    assert [step["name"] for step in steps if "source" in step] == ["f", "helper"]
    assert {"name": "os", "value": {"$": "module", "name": "os", "submodules": ["os.path"]}} in steps
    assert made_of(steps, "f")(1) == '[1, 3, 3.1, "b"]'


def test_imports_are_told_by_module_and_name(main):  # noqa: F811
    names = main(
        "import xml.etree.ElementTree as ET, email, email.mime.text\nfrom os import environ\n"
        "from typing import Optional, Any\nfrom datetime import datetime as dt",
        "def f(x: Optional[Any] = None):\n    return ET, email.mime, environ, dt, g()\n"
        "def g():\n    return email.mime.text.MIMEText",
    )
    encoder = Encoder()
    encoder.definitions.path_of(names["f"], "here")
    found = {step["name"]: step.get("value") for step in written(encoder)}
    assert found == {
        "f": None,
        "g": None,
        "ET": {"$": "module", "name": "xml.etree.ElementTree", "submodules": []},
        "email": {"$": "module", "name": "email", "submodules": ["email.mime", "email.mime.text"]},
        "environ": {"$": "import", "path": "os:environ"},
        "Optional": {"$": "import", "path": "typing:Optional"},
        "Any": {"$": "import", "path": "typing:Any"},
        "dt": {"$": "import", "path": "datetime:datetime"},
    }


def test_what_only_annotations_name_travels_if_it_can(main):  # noqa: F811
    names = main(
        "from __future__ import annotations\nimport threading\nclass Kind:\n    n = 1\nlock = threading.Lock()",
        "def f(a: Kind, b: lock, c: Missing) -> list['Kind']: ...",
    )
    encoder = Encoder()
    encoder.definitions.path_of(names["f"], "here")
    assert sorted(step["name"] for step in written(encoder)) == ["Kind", "f"]


def test_what_cannot_travel_leaves_nothing_of_what_names_it_behind(main):  # noqa: F811
    names = main(
        "import threading\nlock = threading.Lock()\ndef other(): return f\ndef fine(): return 1",
        "def f():\n    fine()\n    with lock:\n        return other()",
    )
    encoder = Encoder()
    for name in ("f", "other", "f"):
        with pytest.raises(NotPlain, match=r"lock \(used by f\) is a _thread.lock, which is no plain data"):
            encoder.definitions.path_of(names[name], "here")
        assert encoder.definitions.steps() == []
    encoder.definitions.path_of(names["fine"], "here")
    assert [step["name"] for step in encoder.definitions.steps()] == ["fine"]


def test_two_values_of_one_name_are_refused():
    def loaded(name, limit):
        text = f"def {name}(): return LIMIT"
        source = {"name": name, "source": text, "future_annotations": False}
        return made_of([{"name": "LIMIT", "value": limit}, source], name)

    encoder = Encoder()
    assert encoder.definitions.path_of(loaded("f", [1]), "here") == ":f"
    assert encoder.definitions.path_of(loaded("g", [1]), "here") == ":g"
    with pytest.raises(NotPlain, match=r"LIMIT \(used by h\) is one of two different things called 'LIMIT'"):
        encoder.definitions.path_of(loaded("h", [2]), "here")
    assert [step["name"] for step in written(encoder)] == ["f", "LIMIT", "g"]


@pytest.mark.parametrize("name", ["__file__", "__doc__", "__spec__"])
def test_what_a_module_knows_of_itself_does_not_travel(main, name):  # noqa: F811
    made = main(f"{name} = 'a'", f"def f(): return {name}")
    with pytest.raises(NotPlain, match=f"f reads {name}, which is another one where it loads"):
        Encoder().definitions.path_of(made["f"], "here")


def test_annotations_of_the_module_stay_there(main):  # noqa: F811
    made = main("import threading\nLock = type(threading.Lock())\nlock: Lock = 1\nclass C:\n    n: int = 2")["C"]
    encoder = Encoder()
    encoder.definitions.path_of(made, "here")
    assert [step["name"] for step in written(encoder)] == ["C"]


def test_a_dunder_name_of_the_user_s_travels(main):  # noqa: F811
    made = main("__version__ = '1.2'", "def f(): return __version__ + __name__")
    encoder = Encoder()
    encoder.definitions.path_of(made["f"], "here")
    assert made_of(written(encoder), "f")() == "1.2__main__"


@pytest.mark.parametrize(
    "cell",
    [
        "KEY = {'api_key': 'canary-7f3b9a1c5d2e4f6a8b'}\ndef f(): return KEY",
        "KEY = {'api_key': 'canary-7f3b9a1c5d2e4f6a8b'}\ndef g(x): return lambda y: y\n@g(KEY)\nclass f: ...",
        "def f(): return dict(password='canary-7f3b9a1c5d2e4f6a8b')",
        "class f:\n    api_key = 'canary-7f3b9a1c5d2e4f6a8b'",
    ],
)
def test_code_with_a_secret_is_refused_without_telling_it(main, cell):  # noqa: F811
    made = main(cell)["f"]
    with pytest.raises(SecretError) as error:
        Encoder().definitions.path_of(made, "here")
    assert "canary" not in str(error.value)
