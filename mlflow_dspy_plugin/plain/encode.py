"""Objects -> nodes."""

import pickle
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from pydantic.fields import FieldInfo

from mlflow_dspy_plugin.errors import SecretError
from mlflow_dspy_plugin.plain import constructors
from mlflow_dspy_plugin.plain.annotations import encode_annotation, is_annotation
from mlflow_dspy_plugin.plain.definitions import Definitions
from mlflow_dspy_plugin.plain.live import BY_VALUE
from mlflow_dspy_plugin.plain.nodes import KIND, Node, NotPlain
from mlflow_dspy_plugin.plain.paths import path_of
from mlflow_dspy_plugin.plain.signatures import encode_field, encode_signature
from mlflow_dspy_plugin.plain.source import is_definition
from mlflow_dspy_plugin.plain.values import encode_value, is_scalar
from mlflow_dspy_plugin.redaction import redact_text
from mlflow_dspy_plugin.scrubbing.code_secrets import refuse_secrets
from mlflow_dspy_plugin.scrubbing.states import StateScrubber, is_made_of_state
from mlflow_dspy_plugin.seams import programs as programs_seam

# What nobody can tell from its copy.
_SPELLED_OUT = {"annotated", "field", "finish", "function", "generic", "literal", "special", "type"}


class Encoder:
    """Makes nodes of objects; an object that is met twice is one node.

    Attributes:
        scrubber: Leaves secrets out of every state.
        definitions: The source that has to travel along.
        left_to_constructors: For each object that its constructor has to make again, the attributes
            without a plain form, with the reasons.
    """

    def __init__(self) -> None:
        self.scrubber = StateScrubber()
        self.definitions = Definitions(self._encode_global)
        self.left_to_constructors: list[tuple[Any, dict[str, NotPlain]]] = []
        # The objects are kept alive: another one must not get the id of one of them.
        self._nodes: dict[int, tuple[Any, Node]] = {}

    def encode(self, value: Any, where: str) -> Any:
        """The node of a value; a scalar is its own.

        Args:
            value: Any object whose secrets were left out.
            where: The place where it was met ("program.tools.search"), for errors.

        Raises:
            NotPlain: If it has no plain form, with the place and the reason.
            SecretError: If a secret is part of code that would travel.
        """
        if is_scalar(value):
            return self._checked(value, where)
        if id(value) in self._nodes:
            return self._met_again(value, where)
        node = Node()
        self._nodes[id(value)] = (value, node)
        try:
            node.body = self._body_of(value, where)
        except BaseException:
            del self._nodes[id(value)]
            raise
        if node.body[KIND] in _SPELLED_OUT:
            del self._nodes[id(value)]
        return node

    def classes_by_value(self) -> list[tuple[type, Node]]:
        """The classes that were described by what they hold, with their nodes."""
        return [(v, node) for v, node in self._nodes.values() if node.body and node.body[KIND] in BY_VALUE]

    def _encode_global(self, value: Any, where: str) -> Any:
        # As attributes are: what stands in both places is the same then.
        return self.encode(self.scrubber.scrub(value, where), where)

    def _met_again(self, value: Any, where: str) -> Node:
        node = self._nodes[id(value)][1]
        if node.body is None and (isinstance(value, (type, tuple, frozenset))):
            raise NotPlain(f"{where} is a {type(value).__name__}, which holds itself")
        node.shared = True
        return node

    def _body_of(self, value: Any, where: str) -> dict[str, Any]:
        if programs_seam.is_signature(value):
            refuse_secrets(value)
            return encode_signature(value, self.encode, where)
        if isinstance(value, FieldInfo):
            return encode_field(value, self._encode_data, where)
        if is_annotation(value):
            return self._annotation(value, where)
        if isinstance(value, ModuleType):
            raise NotPlain(f"{where} is the module {value.__name__}")
        if isinstance(value, MethodType) and not isinstance(value.__self__, (type, ModuleType)):
            return {KIND: "method", "object": self.encode(value.__self__, where), "name": value.__name__}
        if isinstance(value, (FunctionType, BuiltinFunctionType, MethodType)) or path_of(value) or is_definition(value):
            return self._function(value, where)
        body = encode_value(value, self.encode, where)
        return self._object(value, where) if body is None else body

    def _encode_data(self, value: Any, where: str) -> Any:
        """The node of what speaks of fields, where names tell nothing of secrets."""
        return self.encode(self.scrubber.scrub(value, where, named=False), where)

    def _checked(self, value: Any, where: str) -> Any:
        """A scalar; one that looks like a secret here was met where it cannot be left out."""
        if isinstance(value, str) and redact_text(value) != value:
            raise SecretError(
                f"{redact_text(where)} holds a text that looks like a secret, in a place where it cannot be left out. "
                "Nothing was saved. Read it from the environment where it is used."
            )
        return value

    def _annotation(self, value: Any, where: str) -> dict[str, Any]:
        path = path_of(value) if isinstance(value, type) else None
        try:
            if path is None and isinstance(value, type):
                refuse_secrets(value)
            return encode_annotation(value, path, self.encode, where)
        except NotPlain:
            if not is_definition(value):
                raise
            return {KIND: "type", "path": self.definitions.path_of(value, where)}

    def _function(self, function: Any, where: str) -> dict[str, Any]:
        if programs_seam.is_finish(function):
            return {KIND: "finish", "outputs": self.encode(programs_seam.finish_outputs(function), where)}
        function = programs_seam.wrapped_by_dspy(function)
        return {KIND: "function", "path": self._path(function, where)}

    def _path(self, value: Any, where: str) -> str:
        """The path of a class or function, in a module or in the source that travels along."""
        path = path_of(value)
        if path is None and is_definition(value):
            path = self.definitions.path_of(value, where)
        if path is None:
            raise NotPlain(f"{where} is {_describe(value)}")
        return path

    # -- objects --------------------------------------------------------------------------------

    def _object(self, obj: Any, where: str) -> dict[str, Any]:
        cls = type(obj)
        if constructors.dumps_itself(obj):
            state = self.scrubber.scrub(obj.dump_state(), where)
            return {KIND: "dumped", "class": self._path(cls, where), "state": self.encode(state, where)}
        if isinstance(obj, tuple) and hasattr(cls, "_fields"):
            values = self.scrubber.reduce(obj)[1][1:]
            items = [self.encode(item, f"{where}.{name}") for name, item in zip(cls._fields, values, strict=True)]
            return {KIND: "named_tuple", "class": self._path(cls, where), "items": items}
        interpreter = programs_seam.interpreter_arguments(obj)
        if interpreter is not None:
            return {KIND: "interpreter", "arguments": self.encode(interpreter, where)}
        if not programs_seam.is_part_of_program(cls) and not is_definition(cls):
            raise NotPlain(f"{where} is a {cls.__module__}.{cls.__qualname__}, which is no plain data")
        # A class that cannot be imported may be described by what it holds.
        named = path_of(cls) or (self._path if is_definition(cls) else self.encode)(cls, where)
        state = self._state(obj, where)
        if not isinstance(state, dict):
            return {KIND: "object", "class": named, "state": self.encode(state, where)}
        return self._of_attributes(obj, named, state, where)

    def _state(self, obj: Any, where: str) -> Any:
        try:
            reduced = self.scrubber.reduce(obj)
        except (pickle.PicklingError, AttributeError, NotImplementedError) as error:
            raise NotPlain(f"{where} cannot be taken apart ({error})") from error
        if not is_made_of_state(reduced):
            raise NotPlain(f"{where} is {_describe(obj)}, which is more than its attributes")
        return {} if reduced[2] is None else reduced[2]

    def _of_attributes(self, obj: Any, named: Any, state: dict[str, Any], where: str) -> dict[str, Any]:
        remade = programs_seam.remade_attributes(obj)
        attributes: dict[str, Any] = {}
        refused: dict[str, NotPlain] = {}
        for name, value in state.items():
            if name in remade:
                continue
            try:
                attributes[name] = self.encode(value, f"{where}.{name}")
            except NotPlain as reason:
                refused[name] = reason
        body = {KIND: "object", "class": named, "state": attributes}
        if not refused:
            return body
        if not constructors.may_be_constructed(type(obj)):
            raise next(iter(refused.values()))
        try:
            body["arguments"] = self._arguments(obj, where)
        except NotPlain:
            raise next(iter(refused.values())) from None
        # What was withheld the constructor may find where the model loads.
        body["state"] = {name: node for name, node in attributes.items() if not _is_withheld(state[name], obj, name)}
        self.left_to_constructors.append((obj, refused))
        return body

    def _arguments(self, obj: Any, where: str) -> dict[str, Any]:
        """What its constructor has to be given, read from the attributes of the same names."""
        arguments = constructors.constructor_arguments(obj, where)
        scrubbed = self.scrubber.scrub_state(arguments, obj)
        given = {name: value for name, value in scrubbed.items() if not _is_withheld(value, obj, name)}
        return {name: self.encode(value, f"{where}.{name}") for name, value in given.items()}


def _is_withheld(scrubbed: Any, obj: Any, name: str) -> bool:
    return scrubbed is None and getattr(obj, name, None) is not None


def _describe(value: Any) -> str:
    name = getattr(value, "__qualname__", "")
    if "<lambda>" in name:
        return "a lambda"
    if "<locals>" in name:
        return f"{name}, which was defined inside of a function"
    if isinstance(value, (type, FunctionType, BuiltinFunctionType, MethodType)):
        return f"{value.__module__}.{name}, which cannot be imported from there"
    return f"a {type(value).__module__}.{type(value).__qualname__}"
