"""What retrievers return, as the documents that MLflow shows and judges. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

import dspy

from mlflow_dspy_plugin.seams.spans import OUTPUTS

# The names that retrievers use, the first that fits.
_TEXTS = ("long_text", "page_content", "text", "content", "passage")
_IDS = ("pid", "id", "doc_id", "index")
_SCORES = ("score", "probability", "prob")
# Lists side by side in one prediction, and what each holds for a document.
_LISTS = {"passages": "text", "indices": "id", "pids": "id", "doc_ids": "id", "scores": "score", "probs": "score"}


def outputs_of(outputs: Any) -> Mapping[str, Any]:
    """The outputs of a retriever's span: a list of documents, or what was returned where it holds none."""
    if outputs is None:
        return {}
    found = _documents(outputs)
    if found is not None:
        return {OUTPUTS: found}
    return {OUTPUTS: outputs}


def _documents(outputs: Any) -> list[dict[str, Any]] | None:
    if isinstance(outputs, dspy.Prediction):
        return _of_lists(outputs)
    if isinstance(outputs, (list, tuple)):
        documents = [_document(item) for item in outputs]
        return None if None in documents else documents
    return None


def _of_lists(prediction: dspy.Prediction) -> list[dict[str, Any]] | None:
    """The documents of a prediction, of which each field holds one part of all."""
    passages = prediction.get("passages")
    if not isinstance(passages, (list, tuple)):
        return None
    documents = [_document(passage) for passage in passages]
    if None in documents:
        return None
    for name, part in _LISTS.items():
        values = prediction.get(name)
        if part != "text" and isinstance(values, Iterable) and not isinstance(values, (str, Mapping)):
            for document, value in zip(documents, values, strict=False):
                _set(document, part, value)
    return documents


def _document(item: Any) -> dict[str, Any] | None:
    """A document as MLflow writes it: its text, its id, and its score among its metadata."""
    if isinstance(item, str):
        return {"page_content": item, "metadata": {}, "id": None}
    if not isinstance(item, Mapping):
        item = getattr(item, "__dict__", {})
    text = next((item[name] for name in _TEXTS if isinstance(item.get(name), str)), None)
    if text is None:
        return None
    document = {"page_content": text, "metadata": {}, "id": None}
    for part, names in (("id", _IDS), ("score", _SCORES)):
        name = next((name for name in names if item.get(name) is not None), None)
        if name is not None:
            _set(document, part, item[name])
    document["metadata"].update(_rest_of(item))
    return document


def _rest_of(item: Mapping[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in item.items() if key not in (*_TEXTS, *_IDS, *_SCORES)}
    known = rest.pop("metadata", None)
    return {**rest, **known} if isinstance(known, Mapping) else rest


def _set(document: dict[str, Any], part: str, value: Any) -> None:
    if part == "id":
        document["id"] = str(value)
    else:
        document["metadata"]["score"] = value
