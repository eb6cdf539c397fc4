"""A progress bar on the terminal, while all that is printed goes to a file."""

import contextlib
import sys
from pathlib import Path

from tqdm import tqdm


class Progress:
    """Shows the stage, the number of LM calls and the time; libraries print into a log file.

    Args:
        log: The file.
        stages: How many stages there are.
    """

    def __init__(self, log: Path, stages: int):
        self._log = log
        self._stages = stages
        self._calls = 0
        self._began = 0

    def __enter__(self) -> "Progress":
        self._stack = contextlib.ExitStack()
        form = "{desc} {bar:20} {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
        self._bar = tqdm(total=self._stages, file=sys.stderr, bar_format=form, desc="start")
        self._stack.callback(self._bar.close)
        file = self._stack.enter_context(self._log.open("w", encoding="utf-8"))
        self._stack.enter_context(contextlib.redirect_stdout(file))
        self._stack.enter_context(contextlib.redirect_stderr(file))
        return self

    def __exit__(self, error_type: type | None, *_: object) -> None:
        if error_type is None:
            self._bar.update(self._stages - self._bar.n)
        self._stack.close()

    def begin(self, stage: str) -> None:
        """A stage begins, and the one before it is over."""
        self._bar.update(self._began - self._bar.n)
        self._began += 1
        self._bar.set_description_str(stage)

    def lm_called(self) -> None:
        """The language model is called."""
        self._calls += 1
        self._bar.set_postfix_str(f"{self._calls} LM calls", refresh=False)
        self._bar.update(0)
