"""Bodies in JSON: read once and strictly, and written."""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.responses import Response

from mlflow_dspy_plugin.errors import InputError

JSON = "application/json"
_LONG = 256 * 1024
_READERS = ThreadPoolExecutor(2, thread_name_prefix="mlflow-dspy-bodies")
# An escape that stands for half of a letter.
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_Result = TypeVar("_Result")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no value that JSON has")


_strict_one, _lenient_one = json.JSONDecoder(parse_constant=_refuse), json.JSONDecoder()


def object_of(body: bytes, content_type: str, is_strict: bool = True) -> dict[str, Any]:
    """The JSON object that a body is.

    Args:
        body: All of it.
        content_type: What it says that it is.
        is_strict: Whether numbers that JSON lacks are refused.

    Raises:
        HTTPException: If it says that it is something else (415).
        InputError: If it is none.
    """
    media_type, _, parameters = content_type.partition(";")
    if media_type.strip().lower() != JSON or parameters.replace(" ", "").lower() not in ("", "charset=utf-8"):
        raise HTTPException(415, f"The body is of the type {content_type!r:.100}. Send {JSON}, in UTF-8.")
    try:
        told = _told(body, is_strict)
    except UnicodeDecodeError as error:
        raise InputError(f"The body is no UTF-8 ({error.reason} at byte {error.start}). Send JSON in UTF-8.") from None
    except UnicodeEncodeError:
        raise InputError("The body has half of a letter (a lone surrogate). Take it out.") from None
    except RecursionError:
        raise InputError("The body is nested too deeply to be read. Send a flatter one.") from None
    except ValueError as error:
        raise InputError(f"The body is no JSON ({error!s:.200}). Send an object.") from None
    if not isinstance(told, dict):
        raise InputError(f"The body is {type(told).__name__}. Send an object.")
    return told


def _told(body: bytes, is_strict: bool) -> Any:
    told = (_strict_one if is_strict else _lenient_one).decode(body.decode("utf-8"))
    if _HALF.search(body):
        # Raises, unless each has its other half.
        json.dumps(told, ensure_ascii=False).encode()
    return told


async def read_by(read: Callable[..., _Result], body: bytes, *args: Any) -> _Result:
    """Read a body; a long one in a thread, and not in those that programs may hold."""
    if len(body) <= _LONG:
        return read(body, *args)
    return await asyncio.get_running_loop().run_in_executor(_READERS, read, body, *args)


def taken(body: dict[str, Any], key: str, kind: type, what: str) -> Any:
    """Take a value out of an object; None where it is not given.

    Raises:
        InputError: If it is of another kind.
    """
    value = body.pop(key, None)
    if value is not None and not isinstance(value, kind):
        raise InputError(f"{key!r} is {value!r:.100}. Give {what}, or leave it out.")
    return value


def json_response(answer: Mapping[str, Any] | str) -> Response:
    """A response of an object, or of the JSON text of one."""
    return Response(strict(answer if isinstance(answer, str) else json.dumps(answer, default=str)), media_type=JSON)


def strict(text: str) -> str:
    """JSON as others read it: what is no number is null, where Python and MLflow would write NaN."""
    if "NaN" not in text and "Infinity" not in text:
        return text
    return json.dumps(json.loads(text, parse_constant=lambda _: None))
