"""Every kind of program comes back from plain data as it was, and every class that DSPy ships is in the table."""

import functools
import importlib
import json
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dspy
import pytest

from mlflow_dspy_plugin.plain.audit import Audit
from mlflow_dspy_plugin.plain.document import make_document, parse_document, write_document
from mlflow_dspy_plugin.plain.encode import Encoder
from mlflow_dspy_plugin.plain.paths import path_of
from tests.packaging.no_store import store  # noqa: F401
from tests.packaging.plain.kinds import answers, kinds, state_of
from tests.packaging.plain.recorded import recording, sent

KINDS = kinds()
# Programs whose requests are compared here too; the others' are compared in a fresh process (integration).
CALLED = [name for name in KINDS if not name.startswith(("type ", "values "))]
# Classes that DSPy ships and that are not in the table, and why.
LEFT_OUT = {
    "dspy.datasets.alfworld.alfworld:EnvWorker": "an environment to train in",
    "dspy.predict.avatar.avatar:Avatar": "cannot be made: it calls dspy.TypedPredictor, which is gone",
    "dspy.predict.avatar.models:Action": "a part of Avatar",
    "dspy.predict.flex.primitives_doc:SolveModule": "an example in a prompt of Flex's optimizer",
    "dspy.primitives.facade:SandboxLM": "made for one call inside of a sandbox",
    "dspy.propose.grounded_proposer:GenerateModuleInstruction": "a part of an optimizer",
    "dspy.retrievers.databricks_rm:DatabricksRM": "needs a client of Databricks",
    "dspy.retrievers.weaviate_rm:WeaviateRM": "needs a client of Weaviate",
    "dspy.teleprompt.gepa.instruction_proposal:SingleComponentMultiModalProposer": "a part of an optimizer",
    "dspy.teleprompt.infer_rules:RulesInductionProgram": "a part of an optimizer",
    "dspy.utils.dummies:DummyLM": "for tests; its answers are an iterator, which nobody can save",
}
# Modules of DSPy that are scripts, or need a client that is not installed, or only say that they are gone.
NOT_IMPORTED = {"dspy.primitives.local_interpreter_worker", "dspy.retrievers.weaviate_rm", "dspy.core.types"}


@dataclass(frozen=True)
class Written:
    """A program, its document, and the program that was made of it."""

    program: dspy.Module
    data: bytes
    audited: Audit
    loaded: dspy.Module


@pytest.fixture(scope="module", autouse=True)
def server():
    with recording(answers()) as server:
        yield server


@functools.cache
def written(name: str) -> Written:
    """A program of the table."""
    program = KINDS[name].make()
    data = write_document(program, {}, Encoder())
    parsed, audited = parse_document(data)
    return Written(program, data, audited, make_document(parsed, audited, reuse=False).program)


@pytest.mark.parametrize("name", KINDS)
def test_a_program_comes_back_with_its_state(name):
    program, loaded = written(name).program, written(name).loaded
    assert type(loaded) is type(program)
    assert state_of(loaded) == state_of(program)
    assert [n for n, _ in loaded.named_predictors()] == [n for n, _ in program.named_predictors()]
    assert [n for n, _ in loaded.named_sub_modules()] == [n for n, _ in program.named_sub_modules()]
    assert set(vars(loaded)) == set(vars(program))


@pytest.mark.parametrize("name", KINDS)
def test_what_came_back_is_written_as_it_was(name):
    assert write_document(written(name).loaded, {}, Encoder()) == written(name).data


@pytest.mark.parametrize("name", CALLED)
def test_a_program_that_came_back_sends_the_same_requests(name, server):
    kind = KINDS[name]
    expected = sent(lambda: kind.call(written(name).program, **kind.inputs), server)
    assert sent(lambda: kind.call(written(name).loaded, **kind.inputs), server) == expected


def shipped() -> Iterator[type]:
    """The modules, language models, adapters, retrievers and types of fields of the installed release."""
    for module in pkgutil.walk_packages(dspy.__path__, "dspy.", onerror=lambda name: None):
        if module.name not in NOT_IMPORTED and "._vendor." not in module.name:
            importlib.import_module(module.name)
    retrievers = (dspy.retrievers.Embeddings, dspy.ColBERTv2, dspy.Embedder, dspy.KNN, dspy.Parallel)
    types = dspy.Image.__base__, dspy.History
    waiting: list[type] = [dspy.Module, dspy.BaseLM, dspy.Adapter, dspy.Retrieve, *retrievers, *types]
    bases = {dspy.Module, dspy.BaseLM, dspy.Adapter, types[0]}
    while waiting:
        cls = waiting.pop()
        waiting.extend(type.__subclasses__(cls))
        if cls not in bases and cls.__module__.split(".")[0] == "dspy":
            yield cls


def is_named_by_another(cls: type) -> bool:
    """Whether it is private, or was made of its base by subscription: `dspy.Code["java"]`."""
    return cls.__name__.startswith("_") or "[" in cls.__name__ or "_" in cls.__name__


def test_every_class_that_dspy_ships_is_in_the_table_or_left_out_for_a_reason():
    named = {path for each in map(written, KINDS) for path in each.audited.classes}
    # Types made of these are nodes of their own.
    named |= {f"dspy.adapters.types.decision:{name}" for name in ("Choice", "Noul", "Score")}
    paths = {path_of(cls) or cls.__name__ for cls in shipped() if not is_named_by_another(cls)}
    assert {"dspy:ChainOfThought", "dspy:JSONAdapter", "dspy:LM", "dspy:Image"} <= paths
    assert paths - named - set(LEFT_OUT) == set()
    assert not named & set(LEFT_OUT)


def kinds_of_nodes(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from [value["$"]] if "$" in value else []
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from kinds_of_nodes(item)


def test_every_kind_of_node_is_in_the_table():
    from mlflow_dspy_plugin.plain.nodes import SHAPES

    found = {kind for each in map(written, KINDS) for kind in kinds_of_nodes(json.loads(each.data))}
    of_source, of_newer_releases = {"module", "import"}, {"decision"}
    assert set(SHAPES) - found <= of_source | of_newer_releases
