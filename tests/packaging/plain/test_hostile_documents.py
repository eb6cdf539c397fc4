"""Whatever stands in a model's plain data: a program, or an error that says what to do; and no code of its own is run."""

import base64
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest

from mlflow_dspy_plugin.errors import DspyPluginError, ModelFolderError
from mlflow_dspy_plugin.plain.document import make_document, parse_document, write_document
from mlflow_dspy_plugin.plain.encode import Encoder
from mlflow_dspy_plugin.plain.live import LiveClasses
from mlflow_dspy_plugin.plain.nodes import SHAPES
from tests.packaging.no_store import store  # noqa: F401
from tests.packaging.plain import canary
from tests.packaging.plain.kinds import VALUES, Desk, Holding, weather

REFUSED = "(tampered with|log it again|log or download it again|requirements.txt|cannot be made here)"
CANARY = canary.__name__


def tool(path: str) -> dict[str, Any]:
    """A program that holds what a path leads to, as a function."""
    return holding({"$": "function", "path": path})


def holding(value: Any) -> dict[str, Any]:
    """A program that holds a node."""
    program = {"$": "object", "class": "dspy:Predict", "state": {"held": value}}
    return {"definitions": [], "program": program, "settings": {}}


def instance(path: Any, **parts: Any) -> dict[str, Any]:
    return holding({"$": "object", "class": path, "state": {}, **parts})


def made(document: Any) -> Any:
    """What a document makes; a text or bytes are taken as they are."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return make_document(*parse_document(data), reuse=False)


@pytest.fixture(autouse=True)
def untouched():
    """No code of the canary's has run, and what is asked for by name was not started."""
    canary.RUN.clear()
    yield
    assert canary.RUN == []


NAMED = {
    "os": tool("os:system"),
    "posix": tool("posix:system"),
    "eval": tool("builtins:eval"),
    "import": tool("builtins:__import__"),
    "subprocess": instance("subprocess:Popen"),
    "pickle": tool("pickle:loads"),
    "importlib": tool("importlib:import_module"),
    "what a module has imported": tool("mlflow.utils.process:subprocess.Popen"),
    "what a module of ours has imported": tool(f"{CANARY}:os.system"),
    "a name that was imported": tool(f"{CANARY}:system"),
    "a module": tool("dspy:predict"),
    "a class as a function": tool("dspy:Predict"),
    "dunder path": tool("dspy:Predict.__init__.__globals__"),
    "subclasses": tool("builtins:object.__subclasses__"),
    "globals of a function": tool(f"{CANARY}:function.__globals__"),
    "relative": tool(".os:system"),
    "two dots": tool("..packaging:load"),
    "main of a package": tool("pip.__main__:main"),
    "a script of DSPy's": instance("dspy.primitives.local_interpreter_worker:main"),
    "main": tool("__main__:main"),
    "no module": tool("system"),
    "no name": tool("os:"),
    "two colons": tool("dspy:a:b"),
    "blank": tool(""),
    "path of a file": tool("/tmp/x.py:run"),
    "blanks": tool("os :system"),
    "unicode": tool("ｏｓ:system"),
    "nowhere": tool("nowhere_at_all:run"),
    "no such name": tool("dspy:run"),
    "source that is not there": tool(":run"),
    "class of no part": instance(f"{CANARY}:Foreign"),
    "class of MLflow's": instance("mlflow.models:Model"),
    "class of numpy's": instance("numpy:ndarray"),
    "class that is a function": instance(f"{CANARY}:function"),
    "class of Python's": instance("builtins:dict"),
    "class by a function": instance({"$": "function", "path": f"{CANARY}:function"}),
    "class by a list": instance({"$": "list", "items": []}),
    "constructor of DSPy's": instance("dspy:ColBERTv2", arguments={"url": "http://127.0.0.1:1"}),
    "constructor of an LM": instance("dspy:LM", arguments={"model": "x"}),
    "constructor of a value": instance(f"{CANARY}:Value", arguments={}),
    "named tuple of no tuple": holding({"$": "named_tuple", "class": "dspy:Predict", "items": []}),
    "named tuple of a tuple": holding({"$": "named_tuple", "class": "builtins:tuple", "items": []}),
    "dumped by a class of no part": holding({"$": "dumped", "class": f"{CANARY}:Foreign", "state": {}}),
    "dumped by DSPy's": holding({"$": "dumped", "class": "dspy:Predict", "state": {}}),
    "type of another kind": holding({"$": "generic", "origin": {"$": "type", "path": "os:system"}, "arguments": []}),
    "member of no enum": holding({"$": "member", "enum": {"$": "type", "path": "dspy:Predict"}, "name": "x"}),
    "import in the program": holding({"$": "import", "path": "os:system"}),
    "module in the program": holding({"$": "module", "name": "os", "submodules": []}),
    "command of an interpreter": holding({"$": "interpreter", "arguments": {"deno_command": ["touch", "started"]}}),
    "method of a class": holding({"$": "method", "object": {"$": "type", "path": "dspy:Predict"}, "name": "mro"}),
    "method of a value": holding({"$": "method", "object": "text", "name": "format"}),
    "dunder method": holding({"$": "method", "object": [], "name": "__class__"}),
    "attribute that is no method": holding({"$": "method", "object": instance("dspy:Predict")["program"], "name": "x"}),
    "decision of another name": holding({"$": "decision", "of": "os", "options": []}),
    "base of an enum": holding({"$": "enum", "name": "A", "base": "object", "members": []}),
    "special of another name": holding({"$": "special", "name": "eval"}),
}


@pytest.mark.parametrize("name", NAMED)
def test_what_no_model_may_name_is_refused(name):
    with pytest.raises((ModelFolderError, ModuleNotFoundError)) as caught:
        made(NAMED[name])
    if isinstance(caught.value, ModuleNotFoundError):
        assert caught.value.name in ("nowhere_at_all", "ｏｓ")
    assert not Path("started").exists()


CODE = f"__import__({CANARY!r}, fromlist=['x']).RUN.append(1)"
TEXT = {"$": "type", "path": "builtins:str"}
TEXTS_FOR_TYPES = {
    "a text": CODE,
    "in a list": {"$": "generic", "origin": {"$": "type", "path": "builtins:list"}, "arguments": [CODE]},
    "in a union": {"$": "generic", "origin": {"$": "special", "name": "Union"}, "arguments": [CODE, TEXT]},
    "annotated": {"$": "annotated", "type": CODE, "metadata": ["x"]},
    "a member": {
        "$": "member",
        "enum": {"$": "enum", "name": "A", "base": "str", "members": [["A", CODE]]},
        "name": "A",
    },
}


@pytest.mark.parametrize("kind", ["signature", "model"])
@pytest.mark.parametrize("name", TEXTS_FOR_TYPES)
def test_a_text_in_place_of_a_type_is_refused_and_not_evaluated(name, kind):
    field = {"$": "field", "annotation": TEXTS_FOR_TYPES[name], "extra": None, "constraints": {}, "texts": {}}
    rest = {"instructions": "i"} if kind == "signature" else {"doc": None, "config": {}}
    extra = {"__dspy_field_type": "input", "desc": "d", "prefix": "p"} if kind == "signature" else None
    node = {"$": kind, "name": "S", "fields": [["a", {**field, "extra": extra}]], **rest}
    with pytest.raises(ModelFolderError, match="a text in place of a type. Do not load it"):
        made(holding(node))


@pytest.mark.parametrize("path", ["dspy:load", "pydantic.deprecated.parse:load_file", f"{CANARY}:function"])
def test_a_function_in_place_of_a_class_is_refused(path):
    with pytest.raises(ModelFolderError, match="which is no class"):
        made(holding({"$": "type", "path": path}))


@pytest.mark.parametrize("name", ["__base__", "a b", ""])
def test_a_field_of_an_impossible_name_is_refused(name):
    field = {"$": "field", "annotation": TEXT, "extra": None, "constraints": {}, "texts": {}}
    with pytest.raises(ModelFolderError, match="Do not load it"):
        made(holding({"$": "model", "name": "M", "doc": None, "config": {}, "fields": [[name, field]]}))


def test_a_class_of_the_user_s_gets_its_state_without_its_constructor():
    assert made(instance(f"{CANARY}:Own")).program.held.__dict__ == {"history": [], "callbacks": []}


BROKEN = {
    "no JSON": b"{",
    "nothing": b"",
    "another text": b"program",
    "a list": b"[]",
    "null": b"null",
    "no program": b'{"definitions": [], "settings": {}}',
    "invalid UTF-8": b'{"definitions": [], "settings": {}, "program": "\xff\xfe"}',
    "UTF-16": json.dumps(holding(1)).encode("utf-16"),
    "deep lists": b'{"definitions": [], "settings": {}, "program": ' + b"[" * 1_000_000,
    "deep lists, closed": b'{"definitions": [], "settings": {}, "program": ' + b"[" * 10**6 + b"]" * 10**6 + b"}",
    "deep mappings": b'{"definitions": [], "settings": {}, "program": ' + b'{"a":' * 10**6 + b"1" + b"}" * 10**6 + b"}",
    "rather deep lists": b'{"definitions": [], "settings": {}, "program": ' + b"[" * 300 + b"]" * 300 + b"}",
    "settings a list": b'{"definitions": [], "settings": [], "program": null}',
    "definitions a mapping": b'{"definitions": {}, "settings": {}, "program": null}',
    "definition a text": b'{"definitions": ["import os"], "settings": {}, "program": null}',
    "definition without a name": b'{"definitions": [{"source": "x"}], "settings": {}, "program": null}',
    "definition of a dunder": b'{"definitions": [{"name": "a b", "value": 1}], "settings": {}, "program": null}',
    "program a text": b'{"definitions": [], "settings": {}, "program": "x"}',
    "huge number": b'{"definitions": [], "settings": {}, "program": ' + b"9" * 10_000 + b"}",
    "unknown kind": json.dumps(holding({"$": "pickle", "data": ""})).encode(),
    "kind a list": json.dumps(holding({"$": ["object"]})).encode(),
    "kind null": json.dumps(holding({"$": None})).encode(),
    "id a text": json.dumps(holding({"$": "list", "items": [], "id": "1"})).encode(),
    "id true": json.dumps(holding({"$": "list", "items": [], "id": True})).encode(),
    "same id twice": json.dumps(
        holding([{"$": "list", "items": [], "id": 1}, {"$": "set", "items": [], "id": 1}])
    ).encode(),
    "reference to nothing": json.dumps(holding({"$": "ref", "id": 7})).encode(),
    "reference to itself": json.dumps(holding({"$": "tuple", "items": [{"$": "ref", "id": 1}], "id": 1})).encode(),
    "reference by a type": json.dumps(
        holding({"$": "generic", "origin": {"$": "ref", "id": 1}, "arguments": [], "id": 1})
    ).encode(),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_document_is_refused_with_what_to_do(name):
    with pytest.raises(ModelFolderError, match=REFUSED):
        made(BROKEN[name])


VALUE_NODES = {
    "base64": {"$": "bytes", "base64": "!"},
    "objects": {"$": "array", "dtype": "|O", "shape": [1], "base64": base64.b64encode(bytes(8)).decode()},
    "objects in a record": {
        "$": "array",
        "dtype": "O,i4",
        "shape": [1],
        "base64": base64.b64encode(bytes(12)).decode(),
    },
    "dtype": {"$": "array", "dtype": "nothing", "shape": [], "base64": ""},
    "shape": {"$": "array", "dtype": "<i4", "shape": [10**9], "base64": ""},
    "shape of texts": {"$": "array", "dtype": "<i4", "shape": ["a"], "base64": ""},
    "empty scalar": {"$": "array", "dtype": "<i4", "shape": None, "base64": ""},
    "pattern": {"$": "pattern", "pattern": "(", "flags": 0},
    "flags": {"$": "pattern", "pattern": "a", "flags": -1},
    "date": {"$": "text", "type": "date", "text": "2024-02-31"},
    "type of text": {"$": "text", "type": "eval", "text": "1"},
    "huge whole": {"$": "text", "type": "Fraction", "text": "1/0"},
    "member": {"$": "member", "enum": {"$": "enum", "name": "A", "base": "", "members": [["a", 1]]}, "name": "b"},
    "members": {"$": "enum", "name": "A", "base": "", "members": ["a"]},
    "unhashable": {"$": "set", "items": [[]]},
    "unhashable key": {"$": "mapping", "items": [[[], 1]]},
    "pair of three": {"$": "mapping", "items": [[1, 2, 3]]},
    "model": {
        "$": "model",
        "name": "A",
        "doc": None,
        "config": {"$": "mapping", "items": []},
        "fields": [["__init__", 1]],
    },
    "field": {"$": "field", "annotation": None, "extra": None, "constraints": {"default_factory": 1}, "texts": {}},
    "exponent": {"$": "text", "type": "Fraction", "text": "1e1000000000"},
    "generic": {"$": "generic", "origin": {"$": "type", "path": "builtins:int"}, "arguments": []},
    "signature": {"$": "signature", "name": "A", "instructions": "", "fields": [["a", 1]]},
}


@pytest.mark.parametrize("name", VALUE_NODES)
def test_a_value_that_cannot_be_is_refused(name):
    with pytest.raises(ModelFolderError, match=REFUSED):
        made(holding(VALUE_NODES[name]))


WRONG = {str: 1, list: "x", dict: "x", int: "x", object: None}


def misshapen() -> Iterator[Any]:
    """A node of each kind for each of its keys, without it or with a wrong type."""
    right = {str: "x", list: [], dict: {}, int: 1, object: None}
    for kind, shape in SHAPES.items():
        whole = {"$": kind, **{key.removesuffix("?"): right[types[0]] for key, types in shape.items()}}
        for key, types in shape.items():
            name = key.removesuffix("?")
            if not key.endswith("?"):
                yield {part: value for part, value in whole.items() if part != name}
            if types != (object,):
                yield {**whole, name: WRONG[types[0]]}
                yield {**whole, name: None}


def test_a_node_that_lacks_a_key_or_has_a_wrong_one_is_refused():
    nodes = list(misshapen())
    assert len(nodes) > 80
    for node in nodes:
        with pytest.raises(ModelFolderError, match=REFUSED):
            made(holding(node))


def test_of_two_equal_keys_the_audit_sees_what_is_made():
    data = json.dumps(tool("dspy:Predict")).replace(
        '"held":', '"held": {"$": "function", "path": "os:system"}, "held":'
    )
    with pytest.raises(ModelFolderError, match="no function"):
        made(data.encode())
    turned = json.dumps(tool("os:system")).replace('"held":', '"held": 1, "held":')
    with pytest.raises(ModelFolderError, match="os:system"):
        made(turned.encode())


def test_numbers_that_are_none_come_back_as_python_reads_them():
    held = made(json.dumps(holding([float("nan"), float("inf")])).encode()).program.held
    assert [str(number) for number in held] == ["nan", "inf"]


def test_references_that_multiply_are_followed_once():
    """Sixty models, each with two fields of the one before: spelled out, a billion billions."""
    models = []
    for number in range(1, 61):
        before = {"$": "ref", "id": number - 1} if number > 1 else {"$": "type", "path": "builtins:str"}
        field = {"$": "field", "annotation": before, "extra": None, "constraints": {}, "texts": {}}
        parts = {"name": "M", "doc": None, "config": {}, "fields": [["a", field], ["b", field]], "id": number}
        models.append({"$": "model", **parts})
    parsed = {"definitions": [], "program": None, "settings": {"models": models}}
    _, audited = parse_document(json.dumps(parsed).encode())
    live = LiveClasses(parsed, audited.nodes)
    live.remember(models[-1], Own := type("Own", (), {}))
    assert live.of({**models[-1], "id": 99}) is Own
    assert live.of(models[-2]) is None


# -- fuzz ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole() -> bytes:
    """A document with many kinds of nodes."""
    program = Desk(2)
    program.tools = {"weather": dspy.Tool(weather)}
    values = {name: value for name, value in VALUES.items() if name not in ("interpreters", "of dspy's types")}
    program.held = Holding(held=values)
    return write_document(program, {"num_threads": 3}, Encoder())


def check(data: bytes) -> bool:
    """Whether it makes a program; anything else than a program or one of our errors fails."""
    try:
        document = made(data)
    except (DspyPluginError, ModuleNotFoundError):
        return False
    assert isinstance(document.program, (dspy.Module, type(None)))
    return True


def test_a_document_that_is_cut_off_is_refused_wherever(whole):
    assert check(whole)
    assert not any(check(whole[:end]) for end in range(0, len(whole) - 1, 50))


def test_a_document_with_other_bytes_is_refused_or_harmless(whole):
    chance = random.Random(0)
    results = []
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] = chance.choice(b'0123456789"{}[]$:,aZ.\\\xff')
        results.append(check(bytes(data)))
    assert set(results) == {True, False}


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a document, with every key of it."""
    waiting = [value]
    while waiting:
        container = waiting.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            yield container, key
            if isinstance(container[key], (dict, list)):
                waiting.append(container[key])


def test_a_document_of_another_structure_is_refused_or_harmless(whole):
    chance = random.Random(1)
    results = []
    for _ in range(150):
        parsed = json.loads(whole)
        found = list(places(parsed))
        (container, key), (other, name) = chance.choice(found), chance.choice(found)
        hostile = [None, [], {}, "", -1, 2**70, f"{CANARY}:function", f"{CANARY}:Own", {"$": "ref", "id": 1}]
        container[key] = chance.choice([json.loads(json.dumps(other[name])), *hostile])
        results.append(check(json.dumps(parsed).encode()))
    assert set(results) == {True, False}
