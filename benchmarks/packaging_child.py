"""One measured process of `benchmarks.packaging`: does what it is told by either flavor, and prints figures as JSON."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LATER_CALLS = 2
WARM_LOADS = 5
EXAMPLE = {"question": "What kind of bear is best?"}


def log(api_base: str) -> dict[str, Any]:
    """Log a program several times; the store is made before, and everything is imported."""
    import mlflow.dspy

    program = make_program(api_base)
    mlflow.set_experiment("benchmark")
    with mlflow.start_run():
        call = lambda: mlflow.dspy.log_model(program, name="qa", input_example=EXAMPLE)  # noqa: E731
        return {"first": seconds_of(call), "later": [seconds_of(call) for _ in range(LATER_CALLS)]}


def save(api_base: str, folder: str) -> dict[str, Any]:
    """Save a program as `log` logs it."""
    import mlflow.dspy

    mlflow.dspy.save_model(make_program(api_base), folder, input_example=EXAMPLE)
    files = {path.relative_to(folder): path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()}
    data = sum(size for name, size in files.items() if name.parts[0] == "data")
    return {"folder": sum(files.values()), "data": data}


def load(api: str, folder: str) -> dict[str, Any]:
    """Load a model as the first thing in this process, and again."""
    import mlflow

    call = {"dspy": lambda: mlflow.dspy.load_model(folder), "pyfunc": lambda: mlflow.pyfunc.load_model(folder)}[api]
    call()
    return {"loaded_at": time.time(), "warm": [seconds_of(call) for _ in range(WARM_LOADS)]}


def make_program(api_base: str) -> Any:
    """A program without demos, and the language model of the benchmark as DSPy's."""
    import dspy

    dspy.configure(lm=dspy.LM("openai/benchmark", api_base=api_base, cache=False))
    return dspy.ChainOfThought("question -> answer")


def seconds_of(call: Callable[[], Any]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Run the function that the command names."""
    figures = {"log": log, "save": save, "load": load}[sys.argv[1]](*sys.argv[2:])
    import mlflow.dspy

    print(json.dumps({**figures, "flavor": mlflow.dspy.load_model.__module__.split(".")[0]}))


if __name__ == "__main__":
    main()
