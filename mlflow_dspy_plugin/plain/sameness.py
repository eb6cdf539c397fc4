"""Whether two classes or functions are the same, wherever each of them was made."""

import dis
import inspect
from collections.abc import Iterator, Mapping
from enum import Enum
from types import CellType, CodeType, FunctionType
from typing import Any

import cloudpickle
import pydantic

# Of what Python makes of calls, how they are spelled depends on the imports in the same file.
_SPELLING = {"PUSH_NULL", "EXTENDED_ARG", "CACHE", "NOP"}
_SPELLED_ALIKE = {"LOAD_METHOD": "LOAD_ATTR", "CALL_METHOD": "CALL_FUNCTION"}
_TOLD_BY = ("co_name", "co_flags", "co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_names", "co_varnames")
_NAMED = {*dis.hasname}
_JUMPS = {*dis.hasjrel, *dis.hasjabs}
_CONSTANTS = (bool, int, float, complex, str, bytes, type(None))
_CONTAINERS = (list, tuple, set, frozenset, dict)


def is_same_code(a: CodeType, b: CodeType) -> bool:
    """Whether two pieces of code do the same, wherever they were read from."""
    if any(getattr(a, name) != getattr(b, name) for name in _TOLD_BY):
        return False
    if len(a.co_consts) != len(b.co_consts) or not all(map(_is_same_constant, a.co_consts, b.co_consts)):
        return False
    return _steps(a) == _steps(b)


def is_alike(a: Any, b: Any, counterparts: Mapping[int, Any]) -> bool:
    """Whether two objects without a plain form hold the same.

    Args:
        a: An object.
        b: What was made in its place.
        counterparts: What was made of the objects that they may refer to, by the id of these.
    """
    if id(a) in counterparts:
        return counterparts[id(a)] is b
    if type(a) is not type(b):
        return False
    if isinstance(a, FunctionType):
        return is_same_code(a.__code__, b.__code__) and is_alike(_bound_to(a), _bound_to(b), counterparts)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(is_alike(x, y, counterparts) for x, y in zip(a, b, strict=True))
    try:
        return cloudpickle.dumps(a) == cloudpickle.dumps(b)
    except Exception:
        # A lock or a connection: one is as good as another, and nothing else could be saved of it.
        return True


def _bound_to(function: FunctionType) -> list[Any]:
    cells = [cell.cell_contents for cell in function.__closure__ or () if cell != CellType()]
    return [function.__defaults__, *sorted((function.__kwdefaults__ or {}).items()), *cells, vars(function)]


def difference(a: Any, b: Any) -> str | None:
    """What differs between two classes or functions of the same name, as far as one can tell; None if nothing does."""
    if isinstance(a, type) and isinstance(b, type):
        return _difference_of_classes(a, b)
    return None if _is_same(a, b) else a.__qualname__


def functions_of(value: Any) -> Iterator[FunctionType]:
    """The functions that a class body defines, or the function itself, without their decorators."""
    if not isinstance(value, type):
        yield inspect.unwrap(value)
        return
    for member in vars(value).values():
        for function in _functions_behind(member):
            if _is_written_in(function, value):
                yield function


def _functions_behind(member: Any) -> Iterator[FunctionType]:
    """The functions of a method, a property, or what else a class holds of them."""
    parts = (member, *(getattr(member, name, None) for name in ("__func__", "fget", "fset", "func", "__wrapped__")))
    for part in parts:
        if callable(part) and isinstance(function := inspect.unwrap(part), FunctionType):
            yield function


def _is_written_in(function: FunctionType, cls: type) -> bool:
    """Whether the function has a source: what dataclasses make of text has none and needs none."""
    is_own = function.__module__ == cls.__module__ and function.__qualname__.startswith(f"{cls.__qualname__}.")
    return is_own and function.__code__.co_filename != "<string>"


def _difference_of_classes(a: type, b: type) -> str | None:
    if [base.__qualname__ for base in a.__mro__] != [base.__qualname__ for base in b.__mro__]:
        return f"the bases of {a.__qualname__}"
    ours, theirs = _told_by(a), _told_by(b)
    for name in [*ours, *theirs]:
        if name not in ours or name not in theirs or not _is_same(ours[name], theirs[name]):
            return f"{a.__qualname__}.{name}"
    return None


def _told_by(cls: type) -> dict[str, Any]:
    """What a class holds that tells it from another one of its name; of what has dunder names its functions alone."""
    told = {name: value for name, value in vars(cls).items() if any(_functions_behind(value))}
    told |= {n: value for n, value in vars(cls).items() if not n.startswith("__") and _is_constant(value)}
    told["annotations"] = repr(vars(cls).get("__annotations__"))
    if issubclass(cls, Enum):
        told["members"] = repr({name: member.value for name, member in cls.__members__.items()})
    if issubclass(cls, pydantic.BaseModel):
        told["fields"] = repr(cls.model_fields)
    return told


def _is_same(a: Any, b: Any) -> bool:
    if _is_constant(a):
        return type(a) is type(b) and bool(a == b)
    functions = [list(_functions_behind(each)) for each in (a, b)]
    return len(functions[0]) == len(functions[1]) and all(map(_is_same_function, *functions))


def _is_same_function(a: FunctionType, b: FunctionType) -> bool:
    bound = [[each for each in _named(function) if _is_constant(each)] for function in (a, b)]
    return is_same_code(a.__code__, b.__code__) and bound[0] == bound[1]


def _named(function: FunctionType) -> list[Any]:
    """What a function has by name: defaults, and attributes that were set; not if dataclasses have made it of text."""
    if function.__code__.co_filename == "<string>":
        return []
    return [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items(), *vars(function).items()]


def _is_constant(value: Any) -> bool:
    if type(value) in _CONTAINERS:
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        return all(map(_is_constant, parts))
    return type(value) in _CONSTANTS


def _is_same_constant(a: Any, b: Any) -> bool:
    if isinstance(a, CodeType) and isinstance(b, CodeType):
        return is_same_code(a, b)
    return type(a) is type(b) and a == b


def _steps(code: CodeType) -> list[tuple[Any, ...]]:
    """What code does, step by step, with the numbers of steps for places in it, and which of them handle errors."""
    bytecode = dis.Bytecode(code)
    numbers: dict[int, int] = {}
    kept = []
    for step in bytecode:
        numbers[step.offset] = len(kept)
        if step.opname not in _SPELLING:
            kept.append(step)
    steps: list[tuple[Any, ...]] = [
        (_SPELLED_ALIKE.get(step.opname, step.opname), _argument(step, numbers)) for step in kept
    ]
    # Python 3.11 and later keep them apart.
    guarded = getattr(bytecode, "exception_entries", ())
    return steps + [(*(numbers.get(o, len(kept)) for o in (e.start, e.end, e.target)), e.depth) for e in guarded]


def _argument(step: dis.Instruction, numbers: Mapping[int, int]) -> Any:
    if step.opcode in _NAMED:
        return step.argval
    return numbers.get(step.argval) if step.opcode in _JUMPS else step.arg
