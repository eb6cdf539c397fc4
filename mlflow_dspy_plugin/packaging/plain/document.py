"""A program and its settings as one JSON document, and back."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dspy

from mlflow_dspy_plugin.errors import DspyPluginError, ModelFolderError
from mlflow_dspy_plugin.packaging.plain.audit import Audit, audit
from mlflow_dspy_plugin.packaging.plain.decode import Decoder
from mlflow_dspy_plugin.packaging.plain.encode import Encoder
from mlflow_dspy_plugin.packaging.plain.live import LiveClasses
from mlflow_dspy_plugin.packaging.plain.nodes import NotPlain, Writer
from mlflow_dspy_plugin.packaging.plain.source import is_same_code
from mlflow_dspy_plugin.packaging.scrubber import Scrubber


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
    parsed, audited = parse_document(data)
    _prove(parsed, audited, program, encoder)
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
        raise ModelFolderError("The program of the model is damaged: it is no dspy.Module with settings.")
    return Document(program, settings)


def _define(decoder: Decoder, steps: list[dict[str, Any]], live: dict[str, Any]) -> None:
    decoder.namespace.use(live)
    for step in [] if live else steps:
        decoder.namespace.take(step, decoder.decode)


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


def _prove(parsed: dict[str, Any], audited: Audit, program: dspy.Module | None, encoder: Encoder) -> None:
    """Make what was written, and compare everything in it with the program that was given."""
    try:
        # A constructor that asks a language model is not called for nothing.
        with dspy.context(lm=None):
            document = make_document(parsed, audited, reuse=False)
    except (DspyPluginError, ImportError) as error:
        raise NotPlain(f"it does not come back as it was ({error})") from error
    again = Encoder()
    if _encode(document.program, document.settings, again, Writer()) != parsed:
        raise NotPlain("it does not come back as it was: its state differs")
    _compare_constructed(encoder, again)
    if program is not None and _outcome(_prompts, document.program) != _outcome(_prompts, program):
        raise NotPlain("it does not come back as it was: it would send other prompts")


def _compare_constructed(encoder: Encoder, again: Encoder) -> None:
    """Compare what constructors have made: its type, and the code of functions."""
    pairs = zip(encoder.left_to_constructors, again.left_to_constructors, strict=False)
    for (original, _, names), (made, _, made_names) in pairs:
        for name in names:
            before, after = getattr(original, name), getattr(made, name, None)
            codes = [getattr(each, "__code__", None) for each in (before, after)]
            same_code = codes[0] is codes[1] or None not in codes and is_same_code(*codes)
            if names != made_names or type(before) is not type(after) or not same_code:
                raise NotPlain(f"{type(original).__qualname__}.{name} is not what its constructor makes")


def _prompts(program: dspy.Module) -> list[Any]:
    """What each predictor would send, with its fields' names for values."""
    adapter = dspy.ChatAdapter()
    prompts = [adapter.format(p.signature, p.demos, _placeholders(p.signature)) for p in program.predictors()]
    # What was left out of one is left out of both.
    return Scrubber().scrub(prompts, "", named=False)


def _placeholders(signature: type[dspy.Signature]) -> dict[str, Any]:
    # A history is no text: its messages become turns of their own.
    fields = signature.input_fields.items()
    return {name: f"<{name}>" for name, field in fields if field.annotation is not dspy.History}


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
