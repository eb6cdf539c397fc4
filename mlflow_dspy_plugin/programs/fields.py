"""What a program takes and gives: its fields, read from its DSPy signature or its `forward`."""

import inspect
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import dspy

from mlflow_dspy_plugin.errors import InputError
from mlflow_dspy_plugin.seams.programs import is_signature

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Fields:
    """The fields of a program, name -> type; None where they cannot be known without running it.

    Args:
        inputs: What the program takes, in order.
        required: The inputs that have no default and may not be None.
        outputs: What the program gives.
        input_descriptions: What is said of the inputs, name -> text, where something is.
        output_descriptions: The same of the outputs.
    """

    inputs: Mapping[str, Any] | None
    required: frozenset[str]
    outputs: Mapping[str, Any] | None
    input_descriptions: Mapping[str, str] = field(default_factory=dict)
    output_descriptions: Mapping[str, str] = field(default_factory=dict)


def fields_of(program: dspy.Module) -> Fields:
    """Read the fields of a program.

    A predictor's own signature tells both sides. A module of the user's is known by the parameters
    of its `forward`; what it gives is known where it has exactly one predictor.
    """
    signature = _signature_of(program)
    known = _only_predictor(program) if signature is None else signature
    fields = Fields(None, frozenset(), None) if known is None else _fields_of_signature(known)
    parameters = _forward_parameters(program)
    if signature is not None or parameters is None:
        return fields
    inputs = {p.name: _type_of(p, known) for p in parameters}
    return replace(
        fields,
        inputs=inputs,
        required=frozenset(p.name for p in parameters if p.default is p.empty),
        input_descriptions={name: text for name, text in fields.input_descriptions.items() if name in inputs},
    )


def check_fields(given: Mapping[str, Any], fields: Fields, what: str) -> None:
    """Refuse names that the program does not have, and missing ones that it needs.

    Raises:
        InputError: Naming what was given, what the program takes, and what to do.
    """
    if fields.inputs is None:
        return
    unknown = [str(name) for name in given if name not in fields.inputs]
    missing = sorted(fields.required - set(given))
    if unknown or missing:
        problems = [f"unknown: {', '.join(unknown)}"] * bool(unknown)
        problems += [f"missing: {', '.join(missing)}"] * bool(missing)
        raise InputError(
            f"{what} has the fields {sorted(map(str, given))}, but the program takes "
            f"{list(fields.inputs)} ({'; '.join(problems)}). Give a dict with these fields."
        )


def only_input(fields: Fields, what: str) -> str | None:
    """The name under which a program takes a single bare value; None where it is not known.

    Raises:
        InputError: If the program takes several inputs, so that a bare value fits none.
    """
    if fields.inputs is None:
        return None
    candidates = sorted(fields.required) or list(fields.inputs)
    if len(candidates) != 1:
        raise InputError(
            f"{what} is a single value, but the program takes {list(fields.inputs)}. Give a dict with these fields."
        )
    return candidates[0]


def _signature_of(program: dspy.Module) -> type[dspy.Signature] | None:
    """The signature of a program that is itself a predictor (Predict, ChainOfThought, ReAct, ...)."""
    if _forward_parameters(program) is not None:
        return None
    if isinstance(program, dspy.ChainOfThought):
        return program.predict.signature
    signature = getattr(program, "signature", None)
    return signature if is_signature(signature) else None


def _only_predictor(program: dspy.Module) -> type[dspy.Signature] | None:
    predictors = program.predictors()
    return predictors[0].signature if len(predictors) == 1 else None


def _forward_parameters(program: dspy.Module) -> list[inspect.Parameter] | None:
    """The named parameters of `forward` (or `aforward`), None where it takes any."""
    # Of the class: dspy warns whoever reads `forward` of an instance.
    forward = getattr(type(program), "forward", None) or getattr(type(program), "aforward", None)
    if forward is None:
        return None
    parameters = list(inspect.signature(forward).parameters.values())[1:]
    if any(p.kind not in _NAMED for p in parameters):
        return None
    return parameters


def _required(signature: type[dspy.Signature]) -> frozenset[str]:
    """DSPy calls a predictor without a field too; these are the ones meant to be left out."""
    return frozenset(
        name
        for name, field in signature.input_fields.items()
        if field.is_required() and type(None) not in typing.get_args(field.annotation)
    )


def _fields_of_signature(signature: type[dspy.Signature]) -> Fields:
    inputs, outputs = signature.input_fields, signature.output_fields
    return Fields(_types(inputs), _required(signature), _types(outputs), _descriptions(inputs), _descriptions(outputs))


def _descriptions(fields: Mapping[str, Any]) -> dict[str, str]:
    """What the user says of the fields; of the others DSPy says `${name}`."""
    texts = {name: (field.json_schema_extra or {}).get("desc") for name, field in fields.items()}
    return {name: text for name, text in texts.items() if text and text != f"${{{name}}}"}


def _types(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: field.annotation for name, field in fields.items()}


def _type_of(parameter: inspect.Parameter, signature: type[dspy.Signature] | None) -> Any:
    """The annotation of a parameter, else that of the predictor's field of the same name."""
    if parameter.annotation is not parameter.empty and not isinstance(parameter.annotation, str):
        return parameter.annotation
    field = signature.input_fields.get(parameter.name) if signature is not None else None
    return field.annotation if field is not None else Any
