"""What happens inside an LM call: hooks that report it while DSPy's ACTIVE_CALL_ID is that of the call.

Each `watch_*` returns its undo. What they report is as the release has it; `seams.lm_shapes` reads it.
"""

import importlib
import importlib.util
import inspect
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import dspy
from dspy.clients import cache as _cache
from dspy.clients import lm as _lm
from dspy.utils import DummyLM

from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.seams.lm15 import length_of_delta
from mlflow_dspy_plugin.seams.lm_shapes import Chunk, chunk_of, plain
from mlflow_dspy_plugin.seams.patch import patch

# dspy >= 3.4 has one path for all LM calls, with its own retries; before, LiteLLM does all of it.
_HAS_ENGINES = importlib.util.find_spec("dspy.clients.execution") is not None
# dspy < 3.4: the functions that ask LiteLLM, where DSPy's cache has no answer.
_ASKING_LITELLM = tuple(f"{mode}litellm_{kind}completion" for mode in ("", "a") for kind in ("", "text_", "responses_"))

Undo = Callable[[], None]


@dataclass
class Attempt:
    """One try to get an answer from a provider; what has not happened yet is None.

    Attributes:
        began: When, in nanoseconds since the epoch, as are those below.
        requests: When each request left; LiteLLM repeats some by itself.
        ended: When it had an answer or an error.
        error: The error.
        provider: Who was asked, where DSPy asks by itself.
    """

    began: int = field(default_factory=time.time_ns)
    requests: list[int] = field(default_factory=list)
    ended: int | None = None
    error: BaseException | None = None
    provider: str | None = None


# The attempt that the current code belongs to.
_attempt: ContextVar[Attempt | None] = ContextVar("mlflow_dspy_plugin_attempt", default=None)


def watch_calls(report: Callable[[dspy.BaseLM, float], None]) -> Undo:
    """Report each call of a language model when it has ended, however, and how many seconds it took.

    A class of the user's with a `__call__` of its own is heard of where that calls the one it overrides.
    """
    methods = [(cls, name) for cls in (dspy.BaseLM, DummyLM) for name in ("__call__", "acall") if name in vars(cls)]
    return _all_of([patch(owner, name, lambda original: _told(report, original)) for owner, name in methods])


def watch_results(report: Callable[[Any], None]) -> Undo:
    """Report what DSPy keeps of each LM call that got an answer, or was billed for a part of one.

    The same function is told once, however often this was asked for, until each asking is undone, in whatever order.
    """
    with _lock:
        _reports.append(report)
        if len(_reports) == 1:
            _hooks.append(_hook_results())

    def undo() -> None:
        with _lock:
            _reports.remove(report)
            while _hooks and not _reports:
                _hooks.pop()()

    return undo


def watch_attempts(report: Callable[[Attempt], None]) -> Undo:
    """Report each attempt when it begins; its fields are filled in as it goes on.

    dspy < 3.4 leaves repeating to LiteLLM, and that to the provider's library: requests are counted
    where both send them, through httpx. Providers that are reached otherwise count as one request.
    An LM with a `forward` of its own is known to have been asked only by dspy >= 3.4.
    """
    if _HAS_ENGINES:
        execution = importlib.import_module("dspy.clients.execution")
        names = ("_attempt", "_aattempt")
        return _all_of([patch(execution, name, lambda original: _timed(report, original)) for name in names])
    httpx = importlib.import_module("httpx")
    asking = [patch(_lm, name, lambda original: _timed(report, original)) for name in _ASKING_LITELLM]
    sending = [patch(client, "send", _counted) for client in (httpx.Client, httpx.AsyncClient)]
    return _all_of(asking + sending)


def watch_chunks(report: Callable[[Chunk], None]) -> Undo:
    """Report each chunk of a stream as it arrives, before the program has it."""
    undo = [patch(_lm, "_get_stream_completion_fn", lambda original: _telling_chunks(report, original))]
    if _HAS_ENGINES:
        bridge = importlib.import_module("dspy.clients.engines.streaming").ListenerBridge
        undo.append(patch(bridge, "chunk", lambda original: _telling_deltas(report, original)))
    return _all_of(undo)


def watch_cache_hits(report: Callable[[Mapping[str, Any]], None]) -> Undo:
    """Report the usage of what DSPy's cache has answered: the tokens that need not be billed again."""
    return patch(_cache.Cache, "get", lambda original: _telling_usage(report, original))


def _all_of(undo: Iterable[Undo]) -> Undo:
    steps = list(undo)

    def undo_all() -> None:
        while steps:
            steps.pop()()

    return undo_all


# -- calls ------------------------------------------------------------------------------------


def _told(report: Callable[[dspy.BaseLM, float], None], original: Callable) -> Callable:
    """`BaseLM.__call__(lm, ...)`, or its asynchronous twin."""
    if inspect.iscoroutinefunction(original):

        async def acall(self, *args, **kwargs):
            begin = time.monotonic()
            try:
                return await original(self, *args, **kwargs)
            finally:
                report(self, time.monotonic() - begin)

        return acall

    def __call__(self, *args, **kwargs):
        begin = time.monotonic()
        try:
            return original(self, *args, **kwargs)
        finally:
            report(self, time.monotonic() - begin)

    return __call__


# -- results ----------------------------------------------------------------------------------

_lock = threading.Lock()
# Who is told, as often as they have asked; and what undoes the hooks that are there while somebody is.
_reports: list[Callable[[Any], None]] = []
_hooks: list[Undo] = []


def _hook_results() -> Undo:
    # What somebody else has wrapped since stays in place, and tells nothing more.
    in_force = [True]

    def report(result: Any) -> None:
        for told in dict.fromkeys(_reports) if in_force else ():
            told(result)

    return _all_of([in_force.clear, *_hooked(report)])


def _hooked(report: Callable[[Any], None]) -> list[Undo]:
    if not _HAS_ENGINES:
        return [patch(dspy.BaseLM, "_process_lm_response", lambda original: _reporting_first(report, original))]
    execution = importlib.import_module("dspy.clients.execution")
    return [
        patch(execution, "finalize", lambda original: _reporting_last(report, original)),
        patch(execution, "_account_failed_call", lambda original: _reporting_billed(report, original)),
    ]


def _reporting_first(report: Callable[[Any], None], original: Callable) -> Callable:
    """dspy 3.0 to 3.3: `_process_lm_response(lm, response, ...)`."""

    def _process_lm_response(self, response, *args, **kwargs):
        report(response)
        return original(self, response, *args, **kwargs)

    return _process_lm_response


def _reporting_last(report: Callable[[Any], None], original: Callable) -> Callable:
    """dspy >= 3.4: `finalize(lm, call, result)`."""

    def finalize(lm, call, result):
        report(result)
        return original(lm, call, result)

    return finalize


def _reporting_billed(report: Callable[[Any], None], original: Callable) -> Callable:
    """dspy >= 3.4: `_account_failed_call(lm, results, error)`; of several candidates, some had come."""
    combine = importlib.import_module("dspy.clients.call_result").combine

    def _account_failed_call(lm, results, primary):
        if results:
            report(combine(results, model_type=lm.model_type))
        return original(lm, results, primary)

    return _account_failed_call


# -- attempts ---------------------------------------------------------------------------------


class _Trying:
    """Reports an attempt, and notes how it ends."""

    def __init__(self, report: Callable[[Attempt], None], provider: str | None):
        self._attempt = Attempt(provider=provider)
        self._report = report

    def __enter__(self) -> None:
        self._outer = _attempt.get()
        _attempt.set(self._attempt)
        self._report(self._attempt)

    def __exit__(self, kind, error, traceback) -> None:
        self._attempt.ended = time.time_ns()
        self._attempt.error = error
        # Not by the token: a task that is abandoned ends in another context, where that is an error.
        _attempt.set(self._outer)


def _timed(report: Callable[[Attempt], None], original: Callable) -> Callable:
    """`_attempt(lm, call, engine, request, provider, ...)`, or a function that asks LiteLLM."""
    if inspect.iscoroutinefunction(original):

        async def asynchronous(*args, **kwargs):
            with _Trying(report, _provider_in(args)):
                return await original(*args, **kwargs)

        return asynchronous

    def synchronous(*args, **kwargs):
        with _Trying(report, _provider_in(args)):
            return original(*args, **kwargs)

    return synchronous


def _provider_in(args: tuple[Any, ...]) -> str | None:
    return args[4] if _HAS_ENGINES and len(args) > 4 else None


def _counted(original: Callable) -> Callable:
    """`httpx.Client.send`, or that of its asynchronous twin, which is called alike."""

    def send(self, *args, **kwargs):
        attempt = _attempt.get()
        if attempt is not None:
            attempt.requests.append(time.time_ns())
        return original(self, *args, **kwargs)

    return send


# -- chunks -----------------------------------------------------------------------------------


class _Stream:
    """Stands for the stream that DSPy sends LiteLLM's chunks to."""

    def __init__(self, stream: Any, report: Callable[[Chunk], None]):
        self._stream = stream
        self._report = report

    async def send(self, chunk: Any) -> None:
        self._report(chunk_of(chunk))
        await self._stream.send(chunk)


def _telling_chunks(report: Callable[[Chunk], None], original: Callable) -> Callable:
    """`_get_stream_completion_fn(request, ...)` takes the stream from the settings once."""

    def _get_stream_completion_fn(*args, **kwargs):
        stream = dspy.settings.send_stream
        if stream is None:
            return original(*args, **kwargs)
        with dspy.context(send_stream=_Stream(stream, report)):
            return original(*args, **kwargs)

    return _get_stream_completion_fn


def _telling_deltas(report: Callable[[Chunk], None], original: Callable) -> Callable:
    """dspy >= 3.4: `ListenerBridge.chunk(event)` is asked for every event of an engine's stream."""

    def chunk(self, event):
        if event.type == "delta":
            # The last event of such a stream brings the usage.
            report(Chunk(length_of_delta(event.delta), tells_usage=True))
        return original(self, event)

    return chunk


# -- DSPy's cache -----------------------------------------------------------------------------


def _kept(cache: Any, *asked: Any, **options: Any) -> Any:
    """What a cache has answered from; None where another thread has changed it since."""

    def look() -> Any:
        key = cache.cache_key(*asked, **options)
        with cache._lock:
            return cache.memory_cache.get(key) or cache.disk_cache.get(key)

    return attempt(look, lambda error: None)


def _telling_usage(report: Callable[[Mapping[str, Any]], None], original: Callable) -> Callable:
    """`Cache.get(request, ignored)`; what it returns says that nothing was used."""

    def get(self, request, *args, **kwargs):
        record = original(self, request, *args, **kwargs)
        if isinstance(record, dict):
            report(plain(record.get("usage")))
        elif hasattr(record, "usage"):
            report(plain(getattr(_kept(self, request, *args, **kwargs), "usage", None)))
        return record

    return get
