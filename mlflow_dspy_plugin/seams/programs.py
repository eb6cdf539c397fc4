"""What DSPy's programs are made of, where DSPy has no public name for it or changes it between releases."""

import functools
import inspect
import threading
import typing
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import dspy
import pydantic
from dspy.clients.provider import Provider
from dspy.primitives.prediction import Completions
from dspy.streaming.streaming_listener import ADAPTER_SUPPORT_STREAMING
from dspy.utils.unbatchify import Unbatchify

# Parts of programs and settings that DSPy gives no common base.
_PARTS = (
    dspy.Module,
    dspy.BaseLM,
    dspy.Adapter,
    dspy.Retrieve,
    dspy.ColBERTv2,
    dspy.Embedder,
    dspy.Example,
    dspy.KNN,
    dspy.Parallel,
    dspy.retrievers.Embeddings,
    Completions,
    Provider,
)
# What DSPy's own constructors make that is no data, and how it is made again.
_REMADE: dict[type, dict[str, Callable[[Any], Any]]] = {
    dspy.Parallel: {
        "error_lock": lambda parallel: threading.Lock(),
        "cancel_jobs": lambda parallel: threading.Event(),
    },
    dspy.retrievers.Embeddings: {"search_fn": lambda retriever: Unbatchify(retriever._batch_forward)},
}
_DECISIONS = ("Choice", "Noul", "Score")
_INTERPRETER_ARGUMENTS = (
    "enable_read_paths",
    "enable_write_paths",
    "enable_env_vars",
    "enable_network_access",
    "sync_files",
)


def is_part_of_program(cls: type) -> bool:
    """Whether programs, settings and examples are made of objects of this class.

    Values of fields are pydantic objects, members of enums and dataclasses.
    """
    return issubclass(cls, (*_PARTS, pydantic.BaseModel, Enum)) or is_dataclass(cls)


def remade_attributes(obj: Any) -> Mapping[str, Callable[[Any], Any]]:
    """The attributes of an object of DSPy's that are made again rather than saved."""
    return {name: make for cls, table in _REMADE.items() if isinstance(obj, cls) for name, make in table.items()}


def interpreter_arguments(obj: Any) -> dict[str, Any] | None:
    """What makes a code interpreter again; None for all else, and for one with a command or tools of its own."""
    if type(obj) is not dspy.PythonInterpreter or getattr(obj, "tools", None):
        return None
    arguments = {name: getattr(obj, name) for name in _INTERPRETER_ARGUMENTS}
    return arguments if dspy.PythonInterpreter(**arguments).deno_command == obj.deno_command else None


def make_interpreter(arguments: Mapping[str, Any]) -> Any:
    """A code interpreter; its command cannot be told."""
    return dspy.PythonInterpreter(**{name: arguments[name] for name in _INTERPRETER_ARGUMENTS})


def wrapped_by_dspy(function: Any) -> Any:
    """The user's function in the lambda that `BestOfN` and `Refine` put around it; any other is itself."""
    is_wrapper = getattr(function, "__qualname__", "").endswith("<lambda>") and is_of_dspy(function)
    cells = function.__closure__ or () if is_wrapper else ()
    return cells[0].cell_contents if len(cells) == 1 else function


@functools.cache
def make_finish(outputs: tuple[str, ...] | None) -> Callable[..., Any]:
    """The function of the tool by which an agent says that it has done, which DSPy makes inside of a method.

    Args:
        outputs: The names of the fields that the tool takes (`ReActV2`); None for one that takes none (`ReAct`).
    """
    if outputs is None:
        return dspy.ReAct("question -> answer", tools=[]).tools["finish"].func
    fields = {name: (str, dspy.OutputField()) for name in outputs}
    return dspy.ReActV2(dspy.make_signature(fields), tools=[]).tools["submit"].func


def is_finish(function: Any) -> bool:
    """Whether it is such a function."""
    code = getattr(function, "__code__", None)
    agents = [None, ("answer",)] if hasattr(dspy, "ReActV2") else [None]
    return any(code is make_finish(outputs).__code__ for outputs in agents)


def finish_outputs(function: Any) -> tuple[str, ...] | None:
    """The names of the fields that such a function takes."""
    return tuple(function.__closure__[0].cell_contents) if function.__closure__ else None


def decision(cls: type) -> tuple[str, list[Any]] | None:
    """What a type of a decision was made of, such as `Score["poor", "good"]`: its name and its options, as pairs."""
    name = getattr(cls.__base__, "__name__", None)
    if name not in _DECISIONS or cls.__base__ is not _decision_type(name):
        return None
    criteria = cls.criteria()
    if name == "Score":
        return name, criteria
    values = (True, False) if name == "Noul" else typing.get_args(cls.model_fields["value"].annotation)
    described = {str(value).lower() if name == "Noul" else str(value): value for value in values}
    return name, [(described[key], text) for key, text in criteria.items()]


def make_decision(name: str, options: list[Any]) -> type:
    """The type of a decision.

    Raises:
        ValueError: If this release of DSPy has none of that name.
    """
    made = _decision_type(name) if name in _DECISIONS else None
    if made is None:
        raise ValueError(f"this release of DSPy has no type {name!r}")
    return made[tuple(options)]


def _decision_type(name: str) -> Any:
    try:
        from dspy import experimental
    except ImportError:  # before dspy 3.1
        return None
    return getattr(experimental, name, None)


def is_of_dspy(function: Any) -> bool:
    """Whether DSPy has defined the function."""
    return str(getattr(function, "__module__", None)).split(".")[0] == "dspy"


def ends_agent(tool: dspy.Tool) -> bool:
    """Whether this is the tool that DSPy gives an agent to say that it has done; it does nothing."""
    module = getattr(tool.func, "__module__", None) or ""
    return tool.name == "finish" and module.split(".")[0] == "dspy"


def streams_with(adapter: Any) -> bool:
    """Whether DSPy can tell the fields in what a language model sends to this adapter; None is its own default."""
    return adapter is None or type(adapter).__name__ in {each.__name__ for each in ADAPTER_SUPPORT_STREAMING}


def is_signature(value: Any) -> bool:
    """Whether the value is a `dspy.Signature` class."""
    return inspect.isclass(value) and issubclass(value, dspy.Signature)


def save_whole_program(program: dspy.Module, folder: Path) -> None:
    """DSPy's own `save` of a program with its code."""
    program.save(str(folder), save_program=True)


def load_state(program: dspy.Module, state: dict[str, Any]) -> None:
    """DSPy's own `load_state`, with all that a language model was made with.

    dspy 3.1 and later leave out the addresses of language models, unless whoever loads trusts the state.
    """
    trusting = "allow_unsafe_lm_state" in inspect.signature(program.load_state).parameters
    program.load_state(state, **({"allow_unsafe_lm_state": True} if trusting else {}))
