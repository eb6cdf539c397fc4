"""What a span shows of a value -> the value, as far as the trace holds it."""

import base64
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import dspy
import mlflow
from mlflow.entities import Trace

from mlflow_dspy_plugin.redaction import REDACTED

_SCHEME = "mlflow-attachment://"
_REFERENCE = rf"{_SCHEME}[^\s\]]+"
# How `tracing.long_values` writes a long text that is stored as an attachment: alone, after how it begins, and inside
# of another text.
_ALONE = re.compile(rf"(.*)\.\.\. \[[\d,]+ characters: ({_REFERENCE})\]", re.DOTALL)
_INSIDE = re.compile(rf"\[[\d,]+ characters: ({_REFERENCE})\]")
# What stands where the value is elsewhere in the trace, is too much for one, or is not captured.
_ELSEWHERE = ", written out where this trace holds them first"
_TOO_MUCH = re.compile(r"<[\d,]+ more>|<nested deeper than \d+>|<contains itself>")
_OUTLINE = re.compile(r"\[text of [\d,]+ characters\]|\[number\]|\[[\d,]+ bytes\]")
# What an image may be that somebody has sent to a program.
_REMOTE = ("data:", "http://", "https://", "gs://")
_LOCATION = "mlflow.artifactLocation"


class NotWhole(Exception):
    """A value is not in the trace as it was; the message says why, in one or two words."""


def restored(value: Any, trace: Trace) -> Any:
    """A value as it was given to the program, images and attachments too.

    Raises:
        NotWhole: If the trace does not hold all of it.
    """
    if isinstance(value, str):
        return _text(value, trace)
    if isinstance(value, list):
        return [restored(each, trace) for each in value]
    if not isinstance(value, Mapping):
        return value
    found = {name: restored(each, trace) for name, each in value.items()}
    url = _url_of_image(found)
    return found if url is None else dspy.Image(url=url)


def _url_of_image(value: dict[str, Any]) -> str | None:
    """The URL of what may be shown as an image; None if it is none, or would be a file of this machine."""
    shown = value.get("image_url") if value.keys() == {"type", "image_url"} else None
    url = shown.get("url") if isinstance(shown, dict) else None
    return url if isinstance(url, str) and url.startswith(_REMOTE) else None


def _text(text: str, trace: Trace) -> str:
    if REDACTED in text:
        raise NotWhole("redacted")
    if _SCHEME in text:
        return _with_attachments(text, trace)
    if _ELSEWHERE in text or _TOO_MUCH.fullmatch(text):
        raise NotWhole("shortened")
    if _OUTLINE.fullmatch(text):
        raise NotWhole("not captured")
    return text


def _with_attachments(text: str, trace: Trace) -> str:
    if re.fullmatch(_REFERENCE, text):
        kind, data = _attachment(text, trace)
        return f"data:{kind};base64,{base64.b64encode(data).decode()}"
    if alone := _ALONE.fullmatch(text):
        attached = _attached_text(alone[2], trace)
        if attached.startswith(alone[1]):
            return attached
    return _INSIDE.sub(lambda found: _attached_text(found[1], trace), text)


def _attached_text(reference: str, trace: Trace) -> str:
    text = _attachment(reference, trace)[1].decode("utf-8", "replace")
    if REDACTED in text:
        raise NotWhole("redacted")
    return text


def _attachment(reference: str, trace: Trace) -> tuple[str, bytes]:
    """The content type and the bytes of an attachment, which is a file among the artifacts of its trace."""
    parsed = urlparse(reference)
    kind = parse_qs(parsed.query).get("content_type", ["application/octet-stream"])[0]
    folder = f"{trace.info.tags.get(_LOCATION, '')}/attachments"
    if not re.fullmatch(r"[\w-]+", parsed.netloc):
        raise NotWhole("attachment missing")
    with tempfile.TemporaryDirectory(prefix="mlflow-dspy-attachment-") as target:
        try:
            path = mlflow.artifacts.download_artifacts(artifact_uri=f"{folder}/{parsed.netloc}", dst_path=target)
        except (mlflow.MlflowException, OSError) as error:
            raise NotWhole("attachment missing") from error
        return kind, Path(path).read_bytes()
