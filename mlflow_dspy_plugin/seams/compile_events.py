"""`on_compile_start` and `on_compile_end` for the releases of DSPy that do not call them (< 3.4)."""

import contextlib
import contextvars
import functools
import inspect
import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import dspy
from dspy.teleprompt.teleprompt import Teleprompter
from dspy.utils.callback import BaseCallback

_logger = logging.getLogger(__name__)

# An override that calls its parent's `compile` on the same object is one compile.
_compiling: contextvars.ContextVar[frozenset[int]] = contextvars.ContextVar(
    "mlflow_dspy_plugin_compiling", default=frozenset()
)


def report_compiles() -> Callable[[], None]:
    """Call the compile handlers of DSPy's callbacks around every optimizer; returns the undo.

    Covers the optimizers that exist, and those that are defined later.
    """
    if hasattr(BaseCallback, "on_compile_start"):
        return lambda: None
    undo = [_wrap(cls) for cls in _optimizers(Teleprompter) if "compile" in vars(cls)]
    original = vars(Teleprompter).get("__init_subclass__")

    def __init_subclass__(cls, **kwargs):
        super(Teleprompter, cls).__init_subclass__(**kwargs)
        if "compile" in vars(cls):
            undo.append(_wrap(cls))

    Teleprompter.__init_subclass__ = classmethod(__init_subclass__)

    def stop() -> None:
        if original is None:
            del Teleprompter.__init_subclass__
        else:
            Teleprompter.__init_subclass__ = original
        while undo:
            undo.pop()()

    return stop


def _optimizers(cls: type) -> Iterator[type]:
    """Every subclass once, whatever number of ways leads to it."""
    found = set(cls.__subclasses__())
    for subclass in list(found):
        found.update(_optimizers(subclass))
    yield from found


def _wrap(cls: type) -> Callable[[], None]:
    original = vars(cls)["compile"]
    cls.compile = replacement = _reporting(original)

    def undo() -> None:
        if vars(cls).get("compile") is replacement:
            cls.compile = original

    return undo


def _reporting(original: Callable) -> Callable:
    @functools.wraps(original)
    def compile(self, *args, **kwargs):
        with _reported(original, self, args, kwargs) as returned:
            outputs = original(self, *args, **kwargs)
            returned.append(outputs)
            return outputs

    @functools.wraps(original)
    async def compile_async(self, *args, **kwargs):
        with _reported(original, self, args, kwargs) as returned:
            outputs = await original(self, *args, **kwargs)
            returned.append(outputs)
            return outputs

    return compile_async if inspect.iscoroutinefunction(original) else compile


@contextlib.contextmanager
def _reported(original: Callable, optimizer: Any, args: tuple, kwargs: dict) -> Iterator[list[Any]]:
    """Tell the callbacks of a compile; what it returns is to be put into the list."""
    callbacks = [] if id(optimizer) in _compiling.get() else _callbacks_of(optimizer)
    call_id, token = uuid.uuid4().hex, _compiling.set(_compiling.get() | {id(optimizer)})
    inputs = _arguments(original, optimizer, args, kwargs)
    returned: list[Any] = []
    exception = None
    _tell(callbacks, "on_compile_start", call_id=call_id, instance=optimizer, inputs=inputs)
    try:
        yield returned
    except BaseException as error:
        exception = error
        raise
    finally:
        _compiling.reset(token)
        outputs = returned[0] if returned else None
        _tell(callbacks, "on_compile_end", call_id=call_id, outputs=outputs, exception=exception)


def _callbacks_of(optimizer: Any) -> list[Any]:
    return [*dspy.settings.get("callbacks", []), *getattr(optimizer, "callbacks", [])]


def _arguments(original: Callable, optimizer: Any, args: tuple, kwargs: dict) -> dict[str, Any]:
    """The arguments by name; arguments that do not fit are for the optimizer itself to refuse."""
    with contextlib.suppress(TypeError):
        bound = inspect.signature(original).bind(optimizer, *args, **kwargs)
        bound.apply_defaults()
        return dict(list(bound.arguments.items())[1:])
    return dict(kwargs)


def _tell(callbacks: list[Any], handler: str, **event: Any) -> None:
    for callback in callbacks:
        try:
            # A callback written for these releases need not have the handler.
            getattr(callback, handler, lambda **_: None)(**event)
        except Exception:
            # As DSPy's own dispatcher does, for which this one stands in.
            _logger.warning("Error when calling callback %s", callback, exc_info=True)
