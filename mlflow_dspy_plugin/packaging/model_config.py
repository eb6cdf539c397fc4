"""`model_config` of a program: arguments of its constructor, other than those it was made with."""

import inspect
import logging
from collections.abc import Mapping
from typing import Any

import dspy

from mlflow_dspy_plugin.errors import InputError, ProgramError
from mlflow_dspy_plugin.plain.constructors import constructor_arguments, constructor_parameters
from mlflow_dspy_plugin.plain.nodes import NotPlain
from mlflow_dspy_plugin.redaction import redact_text

_logger = logging.getLogger(__name__)

_PLAIN = (bool, int, float, str, type(None))


def configured(program: dspy.Module, model_config: Mapping[str, Any]) -> dspy.Module:
    """The program, made with these arguments of its constructor.

    A class of the user's is constructed again: with these arguments, and for the others with the
    attributes of the same names; what its predictors have learnt is laid over it. DSPy's own
    programs get them as attributes, or as the configuration of their predictors (`temperature`, ...).

    Args:
        program: The program as it was saved; it may be changed.
        model_config: Arguments by name; what is no argument of the constructor changes nothing.

    Raises:
        ProgramError: If the constructor needs an argument that is neither given nor an attribute.
    """
    unknown = _unknown(program, model_config)
    given = {name: value for name, value in model_config.items() if name not in unknown}
    if not given:
        return program
    return _set_on(program, given) if _is_dspys(type(program)) else _constructed(program, given)


def try_out(program: dspy.Module, model_config: Mapping[str, Any] | None) -> None:
    """Refuse a configuration that the program could not be made with where it loads.

    Keys that its constructor does not take are stored and change nothing, as a warning says.

    Raises:
        ProgramError: If the constructor needs more, fails, or would make another program of what it has kept.
    """
    config = model_config or {}
    if unknown := _unknown(program, config):
        _logger.warning(
            "model_config has %s, which %s does not take: stored, but without effect.",
            redact_text(", ".join(map(repr, unknown))),
            type(program).__name__,
        )
    if not _is_dspys(type(program)):
        _check_arguments(program, configured(program, config), config)


def overridden(logged: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The configuration that a model was logged with, with other values for some of its keys.

    Raises:
        InputError: If a key was not logged.
    """
    unknown = sorted(set(given or ()) - set(logged))
    if unknown:
        raise InputError(
            f"model_config has {', '.join(map(repr, unknown))}, but the model was logged with "
            f"{sorted(logged) or 'none'}. Only what was logged can be overridden; log it with those keys."
        )
    return {**logged, **(given or {})}


def _unknown(program: dspy.Module, model_config: Mapping[str, Any]) -> list[str]:
    cls = type(program)
    named = {parameter.name for parameter in constructor_parameters(cls)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(cls.__init__).parameters.values())
    if not _is_dspys(cls):
        return [] if takes_any else [name for name in model_config if name not in named]
    settable = {name for name, value in vars(program).items() if name in named and isinstance(value, _PLAIN)}
    settable |= {name for predictor in program.predictors() for name in predictor.config}
    return [name for name in model_config if name not in settable and (name in named or not takes_any)]


def _check_arguments(program: dspy.Module, made: dspy.Module, given: Mapping[str, Any]) -> None:
    """Refuse a constructor that keeps something else under the name of an argument: it would do so again."""
    for parameter in constructor_parameters(type(program)):
        before, after = getattr(program, parameter.name, None), getattr(made, parameter.name, None)
        if parameter.name not in given and isinstance(before, _PLAIN) and before != after:
            raise ProgramError(
                f"model_config cannot be applied: {type(program).__name__} keeps as {parameter.name!r} what is not the "
                "argument of that name: it would be another one. Keep the argument as it was given, or give it in "
                "model_config too."
            )


def _constructed(program: dspy.Module, given: Mapping[str, Any]) -> dspy.Module:
    try:
        arguments = constructor_arguments(program, type(program).__name__, given)
    except NotPlain as reason:
        raise ProgramError(
            f"model_config cannot be applied: {reason}. Keep the argument as an attribute of the same name, or give "
            "it in model_config too."
        ) from None
    try:
        made = type(program)(**arguments)
    except Exception as error:
        raise ProgramError(
            f"{type(program).__name__} cannot be made with model_config {sorted(given)} "
            f"({type(error).__name__}: {error}). Give values that its constructor takes."
        ) from error
    learnt = dict(program.named_predictors())
    for name, predictor in made.named_predictors():
        if name in learnt:
            _lay_over(predictor, learnt[name])
    return made


def _lay_over(predictor: dspy.Predict, learnt: dspy.Predict) -> None:
    predictor.demos, predictor.lm = learnt.demos, learnt.lm
    if list(predictor.signature.fields) == list(learnt.signature.fields):
        predictor.signature = predictor.signature.load_state(learnt.signature.dump_state())


def _set_on(program: dspy.Module, given: Mapping[str, Any]) -> dspy.Module:
    for name, value in given.items():
        if name in vars(program):
            setattr(program, name, value)
            continue
        for predictor in program.predictors():
            predictor.config = {**predictor.config, name: value}
    return program


def _is_dspys(cls: type) -> bool:
    return cls.__module__.split(".")[0] == "dspy"
