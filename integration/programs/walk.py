"""Compiles with an optimizer of its own, which scores one candidate after the other and says so.

What it does is in the environment: CANDIDATES, ROWS, LATENCY (of an LM call, in seconds), THREADS (compiles at
once), FAILS (after how many candidates), LOGGED, NAME.
"""

import json
import logging
import os
import threading
import time
from pathlib import Path

import dspy
import mlflow
from dspy.teleprompt.teleprompt import Teleprompter

from tests.fakes.script import chat_text
from tests.fakes.scripted import Answer, scripted_lm

CANDIDATES, ROWS, THREADS = (int(os.environ.get(name, "1")) for name in ("CANDIDATES", "ROWS", "THREADS"))
FAILS = int(os.environ.get("FAILS", "-1"))


class Walk(Teleprompter):
    """Gives the student one instruction after the other, of which the later are the better."""

    def __init__(self, name):
        super().__init__()
        self.name = name

    def compile(self, student, *, trainset):
        best, best_score = student, -1.0
        for number in range(CANDIDATES):
            if number == FAILS:
                raise ValueError("the walk ends here")
            tried = student.deepcopy()
            tried.signature = tried.signature.with_instructions(f"{self.name}: know the first {number} answers.")
            result = dspy.Evaluate(devset=trainset, metric=right, num_threads=2)(tried)
            score = float(getattr(result, "score", result))
            best, best_score = (tried, score) if score > best_score else (best, best_score)
            print(f"scored {number}", flush=True)
        return best


def right(example, prediction, trace=None):
    return example.answer == prediction.answer


def answer(messages):
    """Right for the first questions, as many as the instructions say."""
    told = " ".join(str(message["content"]) for message in messages)
    known = int(told.split("know the first ")[1].split()[0]) if "know the first" in told else 0
    question = int(told.split("question ## ]]\n")[-1].split()[0])
    text = chat_text({"answer": "right" if question < known else "wrong"})
    return Answer(text, latency=float(os.environ.get("LATENCY", "0")))


def compile_one(name, compiled):
    trainset = [dspy.Example(question=str(i), answer="right").with_inputs("question") for i in range(ROWS)]
    best = Walk(name).compile(dspy.Predict("question -> answer"), trainset=trainset)
    compiled[name] = best.signature.instructions


def main():
    logging.getLogger("dspy").setLevel(logging.WARNING)
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    dspy.configure(lm=scripted_lm(answer))
    if os.environ.get("LOGGED", "yes") == "yes":
        mlflow.dspy.autolog(log_traces=False, log_compiles=True, log_evals=True)
    compiled, names = {}, [f"{os.environ.get('NAME', 'walk')}-{number}" for number in range(THREADS)]
    start = time.monotonic()
    threads = [threading.Thread(target=compile_one, args=(name, compiled)) for name in names[1:]]
    for thread in threads:
        thread.start()
    compile_one(names[0], compiled)
    for thread in threads:
        thread.join()
    result = {"compiled": compiled, "seconds": time.monotonic() - start}
    Path(os.environ["RESULT_FILE"]).write_text(json.dumps(result))
    print("compiled", flush=True)


if __name__ == "__main__":
    main()
