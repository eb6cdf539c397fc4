"""`inspect_model`: what a model is and what it names, without importing or making anything of it."""

import pickletools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.needs.installed import distributions_of
from mlflow_dspy_plugin.packaging import format as folder_format
from mlflow_dspy_plugin.packaging.contents import open_contents
from mlflow_dspy_plugin.packaging.mlmodel import download, read_mlmodel, section_of
from mlflow_dspy_plugin.packaging.trust import kind_of
from mlflow_dspy_plugin.plain.audit import Audit
from mlflow_dspy_plugin.programs.keys import address_of, key_variables

_LM_CLASS = "dspy:LM"


@dataclass(frozen=True)
class ModelReport:
    """What a model is, as its files say.

    Attributes:
        kind: "data": it can do no more than DSPy's own classes do; "code": it brings or names code;
            "pickle": loading it runs whatever whoever logged it has put there.
        serialization_format: "json", "cloudpickle", "dspy" or "code"; None for MLflow's own flavor.
        names: The classes and functions that it names ("module:name"), with where they come from: a
            requirement as installed here, "the model's code", "the model's source", or "not found here".
        sources: The source that it brings for classes and functions, by name; a script by its file.
        code_files: The files of code that it brings.
        language_models: For each language model its `model`, its `api_base` if it has one, and the
            `variables` of which one holds its key.
        left_out: The places whose secrets were left out, with the environment variable that held
            them, if one did.
        requirements: The lines of its requirements.txt.
        versions: The versions that it was saved with.
    """

    kind: str
    serialization_format: str | None
    names: Mapping[str, str]
    sources: Mapping[str, str]
    code_files: tuple[str, ...]
    language_models: tuple[Mapping[str, Any], ...]
    left_out: Mapping[str, str | None]
    requirements: tuple[str, ...]
    versions: Mapping[str, str]


def inspect_model(model_uri: str, dst_path: str | None = None) -> ModelReport:
    """Look at a model without importing, unpickling or making anything of it.

    Args:
        model_uri: Where the model is, as `load_model` takes it.
        dst_path: The local folder to download to; a temporary one by default.

    Returns:
        What it is, what it names and what it needs. For a pickled model the names are those that
        the pickle imports; code inside of the pickle has none.

    Raises:
        ModelFolderError: If the model is missing, damaged, of another flavor, of a newer format, or
            names what no model may name.
    """
    folder = download(model_uri, dst_path)
    section = section_of(read_mlmodel(folder), folder)
    if names.KEY_FORMAT in section:
        folder_format.check_folder(folder, section)
    audited = open_contents(folder, section).audited
    code_files = _files_below(folder, section.get(names.KEY_CODE))
    paths = _paths_of(audited) if audited else _pickled_paths(folder)
    left_out = section.get(names.KEY_LEFT_OUT) or {}
    return ModelReport(
        kind=kind_of(section, audited),
        serialization_format=section.get(names.KEY_SERIALIZATION),
        names={path: _origin(path, code_files) for path in sorted(paths)},
        sources=_sources(folder, section, audited),
        code_files=tuple(code_files),
        language_models=tuple(_language_models(section, audited)),
        left_out=left_out if isinstance(left_out, Mapping) else dict.fromkeys(left_out),
        requirements=tuple(_lines(folder / "requirements.txt")),
        versions=section.get(names.KEY_VERSIONS, {}),
    )


def _paths_of(audited: Audit) -> set[str]:
    own = {f":{name}" for name in audited.sources}
    return audited.classes | audited.functions | audited.imports | own


def _origin(path: str, code_files: list[str]) -> str:
    module = path.partition(":")[0]
    if not module:
        return "the model's source"
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        base = f"{names.CODE_FOLDER}/" + "/".join(parts[:end])
        if f"{base}.py" in code_files or f"{base}/__init__.py" in code_files:
            return "the model's code"
    return next(iter(distributions_of(module)), None) or _unpackaged(parts[0])


def _unpackaged(top: str) -> str:
    return "Python" if top in sys.stdlib_module_names else "not found here"


def _sources(folder: Path, section: Mapping[str, Any], audited: Audit | None) -> dict[str, str]:
    sources = dict(audited.sources) if audited else {}
    if section.get(names.KEY_SERIALIZATION) == names.FORMAT_CODE:
        path = section[names.KEY_MODEL_PATH]
        sources[path] = folder_format.existing(folder, path).read_text(encoding="utf-8")
    return sources


def _language_models(section: Mapping[str, Any], audited: Audit | None) -> list[dict[str, Any]]:
    """Those of the plain data, which cannot lie; for other models what was noted when they were saved."""
    if audited is None or section.get(names.KEY_SERIALIZATION) == names.FORMAT_CODE:
        return list(section.get(names.KEY_LANGUAGE_MODELS) or [])
    states = [node["state"] for node in audited.objects if _is_language_model(node)]
    return [_described(state) for state in states]


def _is_language_model(node: Mapping[str, Any]) -> bool:
    state = node["state"]
    return isinstance(state, dict) and (node["class"] == _LM_CLASS or {"model", "kwargs"} <= state.keys())


def _described(state: Mapping[str, Any]) -> dict[str, Any]:
    model, arguments = str(state.get("model")), state.get("kwargs")
    described: dict[str, Any] = {"model": model, "variables": list(key_variables(model))}
    address = address_of(arguments) if isinstance(arguments, dict) else None
    return {**described, **({"api_base": address} if address else {})}


def _pickled_paths(folder: Path) -> set[str]:
    """What the pickles below a folder import, read from their instructions."""
    pickles = [path for path in (folder / "data").rglob("*.pkl") if path.is_file()]
    return {path for each in pickles for path in _imported_by_pickle(each.read_bytes())}


def _imported_by_pickle(data: bytes) -> Iterator[str]:
    texts: list[str] = []
    memo: dict[int, str] = {}
    try:
        for code, argument, _ in pickletools.genops(data):
            if code.name == "GLOBAL":
                yield str(argument).replace(" ", ":", 1)
            elif code.name == "STACK_GLOBAL":
                yield ":".join(texts[-2:])
            elif code.name == "MEMOIZE":
                memo[len(memo)] = texts[-1] if texts else ""
            elif "GET" in code.name:
                texts.append(memo.get(argument, ""))
            elif isinstance(argument, str):
                texts.append(argument)
    except ValueError:
        # A pickle that is cut off names no more.
        return


def _files_below(folder: Path, name: str | None) -> list[str]:
    if not name:
        return []
    root = folder_format.existing(folder, name)
    return sorted(path.relative_to(folder).as_posix() for path in root.rglob("*") if path.is_file())


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
