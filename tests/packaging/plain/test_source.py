"""The source of what is defined in `__main__`, and what it reads."""

import linecache

import pytest

from mlflow_dspy_plugin.plain.nodes import NotPlain
from mlflow_dspy_plugin.plain.source import (
    is_definition,
    names_in_annotations,
    names_read,
    names_read_at_definition,
    source_of,
)
from tests.packaging.cells import main, run_script  # noqa: F401
from tests.packaging.no_store import store  # noqa: F401

# The definitions come after other lines, in several cells, and `dspy` is imported in their cell.
CELLS = (
    """
import dspy, functools, enum
from typing import TypedDict
first = 1
@functools.lru_cache(maxsize=None)
def cached(n):
    return dspy.Predict(n)

class Same:
    "Not this one."
    def f(self): return 1
class Same:
    def f(self): return dspy.settings.get("x")
if first:
    async def inside():
        return '''
kept
  as it is'''
""",
    "class Empty:\n    n = 1\n",
    "class Empty:\n    n = 2\nclass Row(TypedDict):\n    n: 'Empty'\n",
    "class Texts:\n    def f(self):\n        return 'a\x0cb\u2028c'\n",
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cached", "@functools.lru_cache(maxsize=None)\ndef cached(n):\n    return dspy.Predict(n)\n"),
        ("Same", 'class Same:\n    def f(self): return dspy.settings.get("x")\n'),
        ("inside", "if True:\n    async def inside():\n        return '''\nkept\n  as it is'''\n"),
        ("Empty", "class Empty:\n    n = 2\n"),
        ("Row", "class Row(TypedDict):\n    n: 'Empty'\n"),
    ],
)
def test_the_source_of_a_definition_is_its_statement(main, name, text):  # noqa: F811
    source = source_of(main(*CELLS)[name], "here")
    assert (source.text, source.future_annotations) == (text, False)


def test_lines_are_counted_as_python_counts_them(main, tmp_path):  # noqa: F811
    main()
    made = run_script(CELLS, tmp_path / "script.py")["Texts"]
    assert source_of(made, "here").text == CELLS[3]


def test_a_flag_of_an_earlier_cell_holds_in_later_ones(main):  # noqa: F811
    made = main(
        "from __future__ import annotations\nfrom typing import NamedTuple, TypedDict",
        "class Plain:\n    def f(self, n: Nothing): ...",
        "class Row(TypedDict):\n    n: Nothing",
        "class Pair(NamedTuple):\n    n: Nothing",
        "class Bare:\n    n: 'Nothing'",
    )
    found = {name: source_of(made[name], "here").future_annotations for name in ("Plain", "Row", "Pair", "Bare")}
    assert found == {"Plain": True, "Row": True, "Pair": True, "Bare": True}


def test_a_source_that_can_no_longer_be_had_is_refused(main):  # noqa: F811
    made = main("def f():\n    return 1\n")["f"]
    linecache.clearcache()
    with pytest.raises(NotPlain, match="here is f, whose source cannot be had"):
        source_of(made, "here")


def test_a_class_without_methods_and_without_a_cell_is_refused(main):  # noqa: F811
    made = main("C = type('C', (), {'__module__': '__main__'})")["C"]
    with pytest.raises(NotPlain, match="here is the class C, whose source cannot be had"):
        source_of(made, "here")


@pytest.mark.parametrize("edited", ["def f():\n    return 2\n", "\n\ndef f():\n    return 1\n", "def g(): ...", "]"])
def test_a_file_that_was_edited_is_no_source(main, tmp_path, edited):  # noqa: F811
    main()
    made = run_script(["def f():\n    return 1\n"], tmp_path / "script.py")["f"]
    assert source_of(made, "here").text == "def f():\n    return 1\n"
    (tmp_path / "script.py").write_text(f"# now\n{edited}")
    with pytest.raises(NotPlain, match="here is f, whose source has changed since it was run"):
        source_of(made, "here")


def test_definitions_are_classes_and_functions_of_the_top_level_of_main(main):  # noqa: F811
    made = main(
        """
import functools, dspy
class C:
    class Inner: ...
    def method(self): ...
    def __call__(self): ...
def f(): ...
@functools.cache
def g(): ...
def closure():
    def inner(): ...
    return inner
hidden, anonymous, instance, partial = closure(), lambda: 1, C(), functools.partial(f)
"""
    )
    yes = [made["C"], made["C"].Inner, made["C"].method, made["f"], made["g"]]
    no = [made["hidden"], made["anonymous"], made["instance"], made["partial"], made["dspy"], print, dict, 1, None]
    assert all(map(is_definition, yes))
    assert not any(map(is_definition, no))


@pytest.mark.parametrize(
    ("text", "at_once", "later"),
    [
        ("class C(Base, metaclass=Meta):\n    n: Hint = value\n", "Base Meta Hint value", ""),
        ("@deco(arg)\ndef f(a: Hint = default) -> Out:\n    return body\n", "deco arg Hint default Out", "body"),
        ("def f(a=[each(x) for x in many]):\n    return {y: z for y in a}\n", "each many", "z"),
        ("class C:\n    n = sum(weigh(x) for x in many)\n    f = lambda self: called\n", "sum weigh many", "called"),
        ("class C:\n    class D(Base):\n        n = value\n        def f(self): return body\n", "Base value", "body"),
        ("def f():\n    global seen\n    seen = seen + 1\n    def g():\n        return inner(own)\n    own = 1\n", "", "seen inner"),
        ("def f(x):\n    match x:\n        case Point(y) | {'k': y}:\n            return (z := made(y))\n", "", "Point made"),
        ("async def f(x):\n    async with lock as y:\n        return [await g(z) async for z in y]\n", "", "lock g"),
        ("class C:\n    n = 1\n    m = n\n    def f(self):\n        return super().f()\n", "n", "super"),
    ],
)  # fmt: skip
def test_what_is_read_is_known_and_when(text, at_once, later):
    code = compile(text, "file", "exec", dont_inherit=True)
    of_python = {"__name__", "__annotations__"}
    assert names_read_at_definition(code) - of_python == set(at_once.split())
    assert names_read(code) - of_python == {*at_once.split(), *later.split()}


def test_names_stand_in_annotations_of_every_kind_and_in_texts_among_them():
    text = """
def f(a: A, /, b: "B | list[C]", *c: D, e: "not a type!" = 1, **g: mod.E) -> "F":
    x: G = 1
class K:
    n: Literal["H"]
    def m(self, p: I): ...
"""
    assert names_in_annotations(text) == {"A", "B", "list", "C", "D", "mod", "F", "G", "Literal", "H", "I"}
