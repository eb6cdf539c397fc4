"""Which modules a program needs: the user's own, and those of installed packages, found by looking."""

import functools
import importlib.util
import json
import sys

import dspy
import numpy as np
import pytest

from mlflow_dspy_plugin.needs.modules import Needs, needs_of
from tests.packaging.no_store import store  # noqa: F401
from tests.packaging.own_modules import install, program_in, written

NEVER_RUN = "raise SystemExit('this module was run')\n"


def needs(*held: object) -> Needs:
    """The needs of a program that holds these objects."""
    program = dspy.Predict("question -> answer")
    program.held = held
    return needs_of(program, {})


def test_a_program_of_dspy_s_own_parts_needs_nothing_else():
    assert needs_of(dspy.ChainOfThought("question -> answer"), {"adapter": dspy.JSONAdapter()}) == Needs(
        {}, frozenset(), frozenset()
    )


IMPORTS = {
    "import": ("import helper", {"helper.py": ""}, {"helper"}),
    "a name": ("from helper import one", {"helper.py": "one = 1"}, {"helper"}),
    "star": ("from helper import *", {"helper.py": ""}, {"helper"}),
    "renamed": ("import helper.sub as s", {"helper/__init__.py": "", "helper/sub.py": ""}, {"helper", "helper.sub"}),
    "in turn": ("import helper", {"helper.py": "import other", "other.py": ""}, {"helper", "other"}),
    "in a circle": ("import helper", {"helper.py": "import app.program", "app/__init__.py": ""}, {"helper"}),
    "relative": ("from . import near", {"app/near.py": ""}, {"app.near"}),
    "of a relative": ("from .near import one", {"app/near.py": "one = 1"}, {"app.near"}),
    "from above": ("from ..far import one", {"far.py": "one = 1"}, set()),
    "in a package": ("import helper", {"helper/__init__.py": "from . import sub", "helper/sub.py": ""}, {"helper.sub"}),
    "namespace": ("from space import sub", {"space/sub.py": ""}, {"space.sub"}),
    "deep namespace": ("import space.deep.sub", {"space/deep/sub.py": ""}, {"space.deep.sub"}),
    "in a function": ("def later():\n    import helper", {"helper.py": NEVER_RUN}, {"helper"}),
    "in a function in turn": (
        "def later():\n    from helper import sub",
        {"helper/__init__.py": NEVER_RUN, "helper/sub.py": "from . import third", "helper/third.py": NEVER_RUN},
        {"helper", "helper.sub", "helper.third"},
    ),
    "in a method": ("class A:\n    def f(self):\n        import helper", {"helper.py": NEVER_RUN}, {"helper"}),
    "by importlib": ("import importlib\nh = importlib.import_module('helper')", {"helper.py": ""}, {"helper"}),
    "where it may fail": ("try:\n    import helper\nexcept ImportError:\n    pass", {"helper.py": ""}, {"helper"}),
}


@pytest.mark.parametrize("way", IMPORTS)
def test_own_modules_are_found_however_they_are_imported_and_not_run_for_it(module, way):
    source, files, expected = IMPORTS[way]
    files = {"app/__init__.py": "", "app/program.py": program_in("" if way == "from above" else source), **files}
    program = module("app.program", files).Program()
    found = needs_of(program, {}).own
    assert found >= {"app", "app.program"} | expected
    assert not {"dspy", "os", "__main__"} & found


NOT_RUN_WHERE_IT_LOADS = {
    "for a type checker": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import helper",
    "for a type checker, by its full name": "import typing\nif typing.TYPE_CHECKING:\n    import helper",
    "for a script": "if __name__ == '__main__':\n    import helper",
}


@pytest.mark.parametrize("way", NOT_RUN_WHERE_IT_LOADS)
def test_what_is_not_imported_where_the_model_loads_is_not_needed(module, way):
    program = module("program", {"program.py": program_in(NOT_RUN_WHERE_IT_LOADS[way]), "helper.py": NEVER_RUN})
    assert needs_of(program.Program(), {}).own == {"program"}


GUARDED = {
    "try": "try:\n    import numpy, helper\nexcept ImportError:\n    numpy = None",
    "bare except": "try:\n    import numpy, helper\nexcept:\n    numpy = None",
    "one of several": "try:\n    import numpy, helper\nexcept (KeyError, ModuleNotFoundError):\n    pass",
    "suppress": "import contextlib\nwith contextlib.suppress(ImportError):\n    import numpy, helper",
    "in a function": "def f():\n    try:\n        import numpy, helper\n    except ImportError:\n        pass",
}


@pytest.mark.parametrize("way", GUARDED)
def test_what_the_code_does_without_is_shipped_and_required_but_need_not_be_there(module, way):
    program = module("program", {"program.py": program_in(GUARDED[way]), "helper.py": "import yaml"}).Program()
    found = needs_of(program, {})
    assert found.own == {"program", "helper"}
    assert {"numpy", "yaml"} <= found.packages.keys()
    assert found.at_load() == {"program": None}


def test_a_try_that_catches_something_else_guards_nothing(module):
    source = program_in("try:\n    import numpy\nexcept KeyError:\n    pass\nelse:\n    import yaml")
    found = needs_of(module("program", {"program.py": source}).Program(), {}).at_load()
    assert found.keys() == {"program", "numpy", "yaml"}


def test_packages_are_named_as_they_are_imported_and_required_as_they_are_installed(module):
    program = module("program", {"program.py": program_in("import yaml\nfrom numpy.linalg import norm")}).Program()
    import numpy
    import yaml

    assert needs_of(program, {}).at_load() == {
        "numpy": f"numpy=={numpy.__version__}",
        "program": None,
        "yaml": f"PyYAML=={yaml.__version__}",
    }


def test_a_package_that_is_not_installed_here_is_not_needed_there(module):
    source = program_in("def later():\n    import no_such_package.sub")
    assert needs_of(module("program", {"program.py": source}).Program(), {}).at_load() == {"program": None}


HELPERS = """
import enum

class Kind:
    __slots__ = ("held",)

    def ask(self):
        pass

class Mood(enum.Enum):
    GOOD = "good"

def ask(city="Rome"):
    return city
"""
HOLDERS = {
    "an object": lambda m: m.Kind(),
    "a class": lambda m: m.Kind,
    "a function": lambda m: m.ask,
    "in a list of a dict": lambda m: {"a": [m.ask]},
    "a key": lambda m: {m.Kind: 1},
    "a module": lambda m: m,
    "a bound method": lambda m: m.Kind().ask,
    "a partial": lambda m: functools.partial(print, m.Kind()),
    "a closure": lambda m: (lambda kind: lambda: kind)(m.Kind),
    "a default": lambda m: lambda kind=m.Kind: kind,
    "a tool": lambda m: dspy.Tool(m.ask),
    "an agent": lambda m: dspy.ReAct("question -> answer", tools=[m.ask]),
    "a type of a field": lambda m: dspy.Signature({"a": (list[m.Mood], dspy.InputField())}, "Do."),
    "a type among types": lambda m: dspy.Signature({"a": (m.Mood | None, dspy.OutputField())}, "Do."),
    "an example": lambda m: dspy.Example(question=m.Kind()),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_what_a_program_holds_is_looked_at(module, holder):
    helpers = module("helpers", {"helpers.py": HELPERS})
    # Where a lambda of this file is saved, this file may be needed too.
    assert "helpers" in needs(HOLDERS[holder](helpers)).own


def test_what_is_held_in_slots_is_looked_at(module):
    helpers = module("helpers", {"helpers.py": HELPERS, "more.py": "class More: pass"})
    kind = helpers.Kind()
    kind.held = __import__("more").More()
    assert needs(kind).own == {"helpers", "more"}


# As a script of the user's: what it defines is saved itself, with what it uses.
SCRIPT = """
import functools, helpers, helpers as unused, yaml, numpy

class WithBase(helpers.Kind): pass
class WithMethod:
    def method(self): return helpers.ask()
class WithProperty:
    @property
    def value(self): return helpers.ask()
class WithCached:
    @functools.cached_property
    def value(self): return helpers.ask()
class WithStatic:
    @staticmethod
    def value(): return helpers.ask()
class WithAttribute:
    kind = helpers.Kind()
class WithAnnotation:
    kind: helpers.Kind
def calling(): return inner()
def inner(): return helpers.ask()
def importing():
    from helpers import ask
    return ask()
"""
IN_SCRIPT = "WithBase WithMethod WithProperty WithCached WithStatic WithAttribute WithAnnotation calling importing"


@pytest.mark.parametrize("name", IN_SCRIPT.split())
def test_code_of_a_script_needs_what_it_uses_and_nothing_else_that_the_script_imports(module, name):
    module("helpers", {"helpers.py": HELPERS})
    variables = {"__name__": "__main__"}
    exec(SCRIPT, variables)
    found = needs(variables[name])
    assert (found.own, found.packages) == ({"helpers"}, {})


def test_the_calls_that_a_program_remembers_need_nothing(module):
    helpers = module("helpers", {"helpers.py": HELPERS})
    program = dspy.Predict("question -> answer")
    program.history = [helpers.Kind()]
    assert needs_of(program, {}).own == set()


def test_the_thread_by_which_a_retriever_searches_needs_nothing():
    """It is made again where the model loads."""
    embedder = dspy.Embedder(lambda texts: np.ones((len(texts), 2)))
    retriever = dspy.retrievers.Embeddings(["a", "b"], embedder, k=1)
    assert retriever("a").passages == ["a"]
    assert needs(retriever) == needs(embedder)


def test_the_settings_that_are_saved_with_a_program_are_looked_at(module):
    helpers = module("helpers", {"helpers.py": HELPERS})
    assert needs_of(dspy.Predict("question -> answer"), {"rm": helpers.Kind()}).own == {"helpers"}


def test_a_module_that_is_imported_lazily_is_not_imported_by_looking(module):
    app = module("app", {"app.py": program_in("lazy = None"), "lazy.py": NEVER_RUN})
    spec = importlib.util.find_spec("lazy")
    spec.loader = importlib.util.LazyLoader(spec.loader)
    app.lazy = sys.modules["lazy"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app.lazy)
    assert needs_of(app.Program(), {}).own == {"app", "lazy"}


def test_a_module_of_the_user_s_may_be_called_as_an_installed_package(module, on_path, tmp_path):
    install(tmp_path / "site", "bad-manners", {"examples/__init__.py": "", "manners.py": ""})
    on_path({}, folder="site")
    files = {"examples/__init__.py": "", "examples/one.py": program_in("import manners")}
    found = needs_of(module("examples.one", files).Program(), {})
    assert found.own == {"examples", "examples.one"}
    assert found.packages == {"manners": "bad-manners==1.5"}


def test_the_part_of_a_shared_namespace_is_required_from_the_distribution_that_has_it(module, on_path, tmp_path):
    install(tmp_path / "site", "shared-a", {"shared_space/a.py": ""})
    install(tmp_path / "site", "shared-b", {"shared_space/b/__init__.py": "", "shared_space/b/deep.py": ""})
    on_path({}, folder="site")
    program = module("program", {"program.py": program_in("from shared_space.b import deep")}).Program()
    assert needs_of(program, {}).at_load() == {"program": None, "shared_space.b": "shared-b==1.5"}


@pytest.mark.parametrize("layout", [".", "src"])
def test_a_project_that_is_installed_in_place_is_installed_and_its_tests_are_not(module, on_path, tmp_path, layout):
    project = written(tmp_path / "project", {f"{layout}/my_project/__init__.py": "", "its_tests/__init__.py": ""})
    origin = {"url": project.as_uri(), "dir_info": {"editable": True}}
    install(
        tmp_path / "site", "my-project", {"_my_project.pth": f"{project / layout}\n"}, direct_url=json.dumps(origin)
    )
    for folder in ("site", "project", f"project/{layout}"):
        on_path({}, folder=folder)
    program = module("program", {"program.py": program_in("import my_project, its_tests")}).Program()
    found = needs_of(program, {})
    assert found.own == {"program", "its_tests"}
    assert found.packages == {"my_project": "my-project==1.5"}
