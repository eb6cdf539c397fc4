"""One measured process of `benchmarks.tracking`: compiles by what it is told, and prints figures as JSON."""

import json
import logging
import os
import sys
import time
from collections import deque
from typing import Any

import dspy
from dspy.teleprompt.teleprompt import Teleprompter

from tests.fakes.script import Answer, chat_text
from tests.fakes.scripted import scripted_lm

EXPERIMENT_VARIABLE = "BENCHMARK_EXPERIMENT_ID"


class Walk(Teleprompter):
    """Scores one instruction after the other by `dspy.Evaluate`.

    Args:
        candidates: How many.
        threads: Of each evaluation.
    """

    def __init__(self, candidates: int, threads: int) -> None:
        super().__init__()
        self.candidates, self.threads = candidates, threads

    def compile(self, student: dspy.Module, *, trainset: list[dspy.Example]) -> dspy.Module:
        """Return the best."""
        evaluate = dspy.Evaluate(devset=trainset, metric=right, num_threads=self.threads)
        found = [(0.0, student)]
        for number in range(self.candidates):
            tried = student.deepcopy()
            tried.predict.signature = tried.predict.signature.with_instructions(f"Answer in the {number}th way.")
            result = evaluate(tried)
            found.append((float(getattr(result, "score", result)), tried))
        return max(found, key=lambda each: each[0])[1]


def right(example: dspy.Example, prediction: dspy.Prediction, trace: Any = None) -> bool:
    """The metric."""
    return example.answer == prediction.answer


def compile_program(candidates: int, rows: int, latency: float, threads: int) -> None:
    """Compile a ChainOfThought."""
    trainset = [
        dspy.Example(question=f"What is half of {2 * number}?", answer=str(number % 2)).with_inputs("question")
        for number in range(rows)
    ]
    answer = Answer(chat_text({"reasoning": "It says so in the question.", "answer": "1"}), latency=latency)
    lm = scripted_lm(answer)
    lm.script.requests = deque(maxlen=0)
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    dspy.configure(lm=lm, disable_history=True, max_trace_size=0)
    Walk(candidates, threads).compile(dspy.ChainOfThought("question -> answer"), trainset=trainset)


def main() -> None:
    """Switch the contender on, compile, and say how long that took."""
    contender, candidates, rows, latency, threads = sys.argv[1], *map(float, sys.argv[2:])
    import mlflow

    mlflow.set_experiment(experiment_id=os.environ[EXPERIMENT_VARIABLE])
    logging.getLogger("dspy").setLevel(logging.WARNING)
    flavor = None
    if contender != "none":
        mlflow.dspy.autolog(log_compiles=True, log_evals=True)
        flavor = mlflow.dspy.autolog.__module__.split(".")[0]
    wall, cpu = time.perf_counter(), time.process_time()
    compile_program(int(candidates), int(rows), latency, int(threads))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"flavor": flavor, "wall": wall, "cpu": cpu, "ended": time.time()}))


if __name__ == "__main__":
    main()
