"""One measured process: how long after the language model a word of its stream is there; prints figures as JSON.

`python -m benchmarks.serving.streams WHAT REPEAT` asks the model in the folder WHAT by `pyfunc.predict_stream`; where
WHAT is the URL of the language model, the program by `dspy.streamify`.
"""

import argparse
import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.serving.moments import ages_of

FIELDS = ("reasoning", "answer")
# Asks once, and says how old each word was when it came, in seconds.
Ask = Callable[[], list[float]]


def measured(ask: Ask, repeat: int) -> dict[str, list[float]]:
    """How old the first word of each stream was, and how old the others were."""
    found: dict[str, list[float]] = {"first": [], "later": []}
    # Connections are opened, and all that is imported late.
    ask()
    for _ in range(repeat):
        first, *later = ask() or [None]
        found["first"] += [] if first is None else [first]
        found["later"] += later
    return found


def of_model(folder: str) -> Ask:
    """A saved model, by `pyfunc.predict_stream`."""
    import mlflow

    from benchmarks.serving.program import QUESTION

    model = mlflow.pyfunc.load_model(folder)
    return lambda: [age for item in model.predict_stream(QUESTION) for age in ages_of(_text_of(item))]


def of_program(api_base: str) -> Ask:
    """The program itself, by `dspy.streamify`."""
    import dspy
    from dspy.streaming import StreamListener

    from benchmarks.serving.program import QUESTION, make_program

    program = make_program(api_base)
    loop = asyncio.new_event_loop()

    async def ask() -> list[float]:
        # Listeners that have listened miss the first words of what they hear next.
        streaming = dspy.streamify(program, stream_listeners=[StreamListener(field) for field in FIELDS])
        return [age async for item in streaming(**QUESTION) for age in ages_of(_text_of(item))]

    return lambda: loop.run_until_complete(ask())


def _text_of(item: Any) -> str:
    """The text of an item of a stream; what has the whole prediction has none."""
    return (item.get("chunk") if isinstance(item, dict) else getattr(item, "chunk", "")) or ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.streams", description=__doc__)
    parser.add_argument("what", help="the folder of a model, or the URL of the language model")
    parser.add_argument("repeat", type=int)
    given = parser.parse_args(arguments)
    make = of_program if given.what.startswith("http://") else of_model
    print(json.dumps(measured(make(given.what), given.repeat)))


if __name__ == "__main__":
    main()
