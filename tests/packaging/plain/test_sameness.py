"""Which classes and functions count as the same."""

import pytest

from mlflow_dspy_plugin.plain.sameness import difference, functions_of, is_same_code
from tests.packaging.cells import main  # noqa: F401
from tests.packaging.no_store import store  # noqa: F401

LOOP = """
def f(a, b=1):
    for x in a:
        if x and not dspy.settings.get(b):
            dspy.Predict(x, n=[y.strip() for y in b]).demos.append(lambda: dspy.LM(x))
            a.run(*b, **x)
    try:
        dspy.run()
    finally:
        a.run()
"""


def code_of(text):
    made = compile(text, "file", "exec", dont_inherit=True)
    return next(constant for constant in made.co_consts if hasattr(constant, "co_code"))


def test_code_is_the_same_whether_its_file_imports_what_it_calls_or_not():
    assert is_same_code(code_of(LOOP), code_of(f"import dspy\n\n{LOOP}"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("n=[", "m=["),
        ("x and not", "x or not"),
        ("            a.run(*b", "        a.run(*b"),
        ("y.strip()", "y.lower()"),
        ("dspy.LM(x)", "dspy.LM(a)"),
        ("for x in a", "for x in b"),
        ("        dspy.run()\n    finally:\n        a.run()", "        a.run()\n    finally:\n        dspy.run()"),
        ("    finally:\n        a.run()", "    except E:\n        a.run()"),
        ("def f(a, b=1):\n", "def f(a, b=1):\n    'Now it has a docstring.'\n"),
        ("def f(a, b=1):", "def f(a, *, b=1):"),
    ],
)
def test_code_that_does_something_else_is_another_one(old, new):
    assert old in LOOP
    assert not is_same_code(code_of(LOOP), code_of(LOOP.replace(old, new)))


def test_what_a_try_covers_tells_code_apart():
    inside = "def f():\n    try:\n        a()\n        b()\n    except E:\n        c()\n"
    behind = "def f():\n    try:\n        a()\n    except E:\n        c()\n    b()\n"
    assert not is_same_code(code_of(inside), code_of(behind))


CLASS = """
import dataclasses, enum, functools
from typing import NamedTuple
import dspy, pydantic

@dataclasses.dataclass
class D:
    n: int = 1

class E(enum.Enum):
    A = "a"

class M(pydantic.BaseModel):
    n: int = 1

class N(NamedTuple):
    n: int = 1

class C(dspy.Module):
    names = ["a", {"b": (1,)}]

    @property
    def p(self):
        return 1

    @functools.lru_cache
    def q(self):
        return 1

    @staticmethod
    def s():
        return 1
"""


@pytest.mark.parametrize("name", ["D", "E", "M", "N", "C"])
def test_a_class_that_is_made_twice_is_the_same(main, name):  # noqa: F811
    first, second = main(CLASS)[name], main(CLASS)[name]
    assert first is not second
    assert difference(first, second) is None


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("D", "n: int = 1", "n: int = 2", "D.n"),
        ("D", "n: int = 1", "n: float = 1", "D.annotations"),
        ("E", 'A = "a"', 'A = "b"', "E.members"),
        ("M", "n: int = 1", "n: int = 2", "M.fields"),
        ("N", "n: int = 1", "n: str = 1", "N.annotations"),
        ("C", "(1,)", "(2,)", "C.names"),
        ("C", "def p(self):\n        return 1", "def p(self):\n        return 2", "C.p"),
        ("C", "def q(self):\n        return 1", "def q(self):\n        return 2", "C.q"),
        ("C", "def s():\n        return 1", "def s():\n        return 2", "C.s"),
        ("C", "def s(", "def t(", "C.s"),
        ("C", "C(dspy.Module)", "C(D, dspy.Module)", "the bases of C"),
    ],
)
def test_what_differs_between_two_classes_is_named(main, name, old, new, told):  # noqa: F811
    assert old in CLASS
    first, second = main(CLASS)[name], main(CLASS.replace(old, new))[name]
    assert difference(first, second) == told


def test_the_functions_of_a_class_are_those_that_stand_in_it(main):  # noqa: F811
    made = main(CLASS)
    assert {function.__name__ for function in functions_of(made["C"])} == {"p", "q", "s"}
    assert [list(functions_of(made[name])) for name in "DEMN"] == [[], [], [], []]
