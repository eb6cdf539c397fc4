"""A program and its settings as one JSON document, and back."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dspy

from mlflow_dspy_plugin.errors import DspyPluginError, ModelFolderError
from mlflow_dspy_plugin.plain.audit import Audit, audit
from mlflow_dspy_plugin.plain.decode import Decoder
from mlflow_dspy_plugin.plain.encode import Encoder
from mlflow_dspy_plugin.plain.live import LiveClasses
from mlflow_dspy_plugin.plain.nodes import NotPlain, Writer
from mlflow_dspy_plugin.plain.sameness import difference, is_alike
from mlflow_dspy_plugin.scrubbing.scrubber import Scrubber


@dataclass(frozen=True)
class Document:
    """What a document makes.

    Attributes:
        program: The program.
        settings: DSPy's settings, without what was left out.
    """

    program: dspy.Module | None
    settings: dict[str, Any]


def write_document(program: dspy.Module | None, settings: dict[str, Any], encoder: Encoder) -> bytes:
    """The document of a program and its settings, proved to come back the same.

    Args:
        program: The program; None for the settings alone.
        settings: The settings to save with it.
        encoder: A new one; its scrubber tells afterwards what was left out.

    Raises:
        NotPlain: If something in it has no plain form, with the place and the reason.
        SecretError: If a secret is part of code that would travel.
    """
    writer = Writer()
    written = _encode(program, settings, encoder, writer)
    data = json.dumps(written, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass")
    parsed, audited = _prove(data, program, encoder)
    _remember(LiveClasses(parsed, audited.nodes), encoder, writer)
    return data


def parse_document(data: bytes) -> tuple[dict[str, Any], Audit]:
    """Parse and audit a document; nothing of it is imported or made.

    Raises:
        ModelFolderError: If it is damaged, or names what a model may not.
    """
    try:
        parsed = json.loads(data.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise ModelFolderError(
            f"The program of the model is damaged: it is no JSON ({str(error) or type(error).__name__}). It was half "
            "written or changed since; log or download it again."
        ) from error
    return parsed, audit(parsed)


def make_document(parsed: dict[str, Any], audited: Audit, reuse: bool = True) -> Document:
    """Make the program and the settings of a document that was audited.

    Args:
        parsed: The document.
        audited: What the audit found in it.
        reuse: Whether classes that this process has saved by value are used again.

    Raises:
        ModelFolderError: If what it names is missing, or is no part of programs.
        ModuleNotFoundError: If a module is not installed.
    """
    live = LiveClasses(parsed, audited.nodes) if reuse else None
    decoder = Decoder(audited.nodes, live)
    try:
        _define(decoder, parsed["definitions"], live.definitions(list(audited.sources)) if live else {})
        program, settings = decoder.decode(parsed["program"]), decoder.decode(parsed["settings"])
    except (DspyPluginError, ImportError):
        raise
    except Exception as error:
        # Whatever a damaged document makes Python or the user's constructors raise.
        raise ModelFolderError(
            f"The program of the model cannot be made here ({type(error).__name__}: {error}). Bring the packages that "
            "it needs to the versions in its requirements.txt; if that does not help, log it again."
        ) from error
    if not isinstance(program, (dspy.Module, type(None))) or not isinstance(settings, dict):
        raise ModelFolderError(
            "The program of the model is damaged: it is no dspy.Module with settings. It was changed since it was "
            "saved; log or download it again."
        )
    return Document(program, settings)


def _define(decoder: Decoder, steps: list[dict[str, Any]], live: dict[str, Any]) -> None:
    decoder.namespace.use(live)
    for step in [] if live else steps:
        decoder.namespace.take(step, decoder.decode)
    decoder.namespace.complete()


def _encode(program: dspy.Module | None, settings: dict[str, Any], encoder: Encoder, writer: Writer) -> dict[str, Any]:
    try:
        nodes = {
            "program": encoder.encode(encoder.scrubber.scrub(program, "program"), "program"),
            "settings": encoder.encode(encoder.scrubber.scrub(settings, "settings"), "settings"),
        }
        return writer.write({"definitions": encoder.definitions.steps(), **nodes})
    except RecursionError:
        raise NotPlain("it is nested too deeply, or in itself") from None


# -- proof --------------------------------------------------------------------------------------


def _prove(data: bytes, program: dspy.Module | None, encoder: Encoder) -> tuple[dict[str, Any], Audit]:
    """Parse and make what was written, and compare everything in it with the program that was given."""
    try:
        parsed, audited = parse_document(data)
        # A constructor that asks a language model is not called for nothing.
        with dspy.context(lm=None):
            document = make_document(parsed, audited, reuse=False)
    except (DspyPluginError, ImportError) as error:
        raise NotPlain(f"it does not come back as it was ({error})") from error
    again = Encoder()
    place = _difference(parsed, _encode(document.program, document.settings, again, Writer()))
    if place is not None:
        raise NotPlain(_reason(encoder) or f"it does not come back as it was: it differs in{place}")
    _compare_constructed(encoder, again)
    _compare_defined(encoder.definitions.defined(), again.definitions.defined())
    if program is not None and _outcome(_prompts, document.program) != _outcome(_prompts, program):
        raise NotPlain("it does not come back as it was: it would send other prompts")
    return parsed, audited


def _reason(encoder: Encoder) -> str | None:
    """Why something was left to a constructor, which has not made it as it was."""
    for original, refused in encoder.left_to_constructors:
        return f"{next(iter(refused.values()))}, and the constructor of {type(original).__qualname__} does not make it"
    return None


def _difference(a: Any, b: Any, place: str = "") -> str | None:
    """The place where two JSON values differ first; None if they do not."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        pairs = [(f" {key}", a[key], b[key]) for key in a]
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        pairs = [(f" {index}", *both) for index, both in enumerate(zip(a, b, strict=True))]
    else:
        return None if a == b and type(a) is type(b) else place
    found = (_difference(ours, theirs, place + name) for name, ours, theirs in pairs)
    return next((each for each in found if each is not None), None)


def _compare_constructed(encoder: Encoder, again: Encoder) -> None:
    """Compare what constructors have made with what it was when it was saved."""
    pairs = list(zip(encoder.left_to_constructors, again.left_to_constructors, strict=False))
    counterparts = {id(original): made for (original, _), (made, _) in pairs}
    for (original, refused), (made, _) in pairs:
        for name, reason in refused.items():
            if not is_alike(getattr(original, name), getattr(made, name, None), counterparts):
                raise NotPlain(f"{reason}, and is not as the constructor of {type(original).__qualname__} makes it")


def _compare_defined(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Compare the classes and functions that travel with what their source has made."""
    for name, value in before.items():
        if differs := difference(value, after[name]):
            raise NotPlain(f"{name} is not what its source makes: {differs} differs")


def _prompts(program: dspy.Module) -> list[Any]:
    """What each predictor would send, but for the inputs; in parts, which nobody's callbacks hear of."""
    adapter = dspy.ChatAdapter()
    prompts = [
        (
            adapter.format_field_description(predictor.signature),
            adapter.format_field_structure(predictor.signature),
            adapter.format_task_description(predictor.signature),
            adapter.format_demos(predictor.signature, predictor.demos),
        )
        for predictor in program.predictors()
    ]
    # What was left out of one is left out of both.
    return Scrubber().scrub(prompts, "", named=False)


def _outcome(function: Callable[[Any], Any], argument: Any) -> Any:
    """What a function returns; DSPy cannot format every type, and then fails for both alike."""
    try:
        return function(argument)
    except Exception as error:
        return type(error)


def _remember(live: LiveClasses, encoder: Encoder, writer: Writer) -> None:
    for cls, node in encoder.classes_by_value():
        if id(node) in writer.written:
            live.remember(writer.written[id(node)], cls)
    for name, value in encoder.definitions.defined().items():
        live.remember_definition(name, value)
