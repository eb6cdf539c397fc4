"""One measured process: runs a contender, does what the lines on its stdin say, and answers each by a line of JSON."""

import gc
import json
import os
import sys
import time
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from benchmarks.tracing.contenders import CONTENDERS, EXPERIMENT_VARIABLE

# A process that uses less than QUIET_CPU_SECONDS of CPU, QUIET_TIMES in a row, has nothing under way.
QUIET_CPU_SECONDS, QUIET_TIMES, LOOK_SECONDS = 0.003, 3, 0.05
PATIENCE_SECONDS = 120
# Where this package says what has become of its traces.
DELIVERY = "mlflow_dspy_plugin.delivery.adoption"


class Measured:
    """The commands, each of which returns what it measured."""

    def __init__(self, name: str) -> None:
        import mlflow

        # Not by MLflow's variable for it: with that, each trace asks the store for the experiment before it begins.
        mlflow.set_experiment(experiment_id=os.environ[EXPERIMENT_VARIABLE])
        from benchmarks.tracing import program

        self._question = program.question
        self._contender = CONTENDERS[name].start(program.make_program())

    def flavor(self) -> dict[str, str | None]:
        """The package that answers for `mlflow.dspy`, where the contender has asked for it."""
        module = sys.modules.get("mlflow.dspy")
        return {"package": module and module.autolog.__module__.split(".")[0]}

    def calls(self, first: int, count: int, flush_every: int = 0) -> dict[str, float]:
        """Call the program; seconds a call, on the clock and of this thread's CPU."""
        call, question, flush = self._contender.call, self._question, self._contender.flush
        before, cpu, wall = time.process_time(), time.thread_time(), time.perf_counter()
        for number in range(first, first + count):
            call(question(number))
            if flush_every and (number + 1) % flush_every == 0:
                flush()
        wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
        return {"wall": wall / count, "cpu": cpu / count, "process_before": before, "ended": time.time()}

    def settle(self) -> dict[str, float]:
        """Send what waits, and wait until no thread is at work."""
        self._contender.flush()
        quiet, deadline = 0, time.monotonic() + PATIENCE_SECONDS
        while quiet < QUIET_TIMES and time.monotonic() < deadline:
            before = time.process_time()
            time.sleep(LOOK_SECONDS)
            quiet = quiet + 1 if time.process_time() - before < QUIET_CPU_SECONDS else 0
        return self.clock()

    def clock(self) -> dict[str, float]:
        """The CPU seconds of all threads of this process until now."""
        return {"process": time.process_time()}

    def memory(self) -> dict[str, float]:
        """The memory that this process holds, and the most that it has held, in MB."""
        gc.collect()
        lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
        sizes = {words[0]: int(words[1]) / 1024 for words in lines if words and words[0] in ("VmRSS:", "VmHWM:")}
        return {"rss": sizes["VmRSS:"], "peak": sizes["VmHWM:"]}

    def discarded(self) -> dict[str, int]:
        """How many traces the store that keeps none was given."""
        from benchmarks.tracing.discard import DiscardingStore

        return {"arrived": DiscardingStore.arrived}

    def report(self) -> dict[str, Any]:
        """What this package says of its delivery, where it is in use."""
        report = getattr(sys.modules.get(DELIVERY), "report", None)
        found = report() if callable(report) else None
        return {"delivery": asdict(found) if is_dataclass(found) else found}


def main() -> None:
    """Answer until stdin ends; then this process ends as any program does."""
    # What MLflow or DSPy print must not stand between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    measured = Measured(sys.argv[1])
    for line in sys.stdin:
        command = json.loads(line)
        print(json.dumps(getattr(measured, command.pop("do"))(**command), default=str), file=answers)


if __name__ == "__main__":
    main()
