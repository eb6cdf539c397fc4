"""What a stream tells -> the items that `predict_stream` yields."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from dspy.streaming import StatusMessage, StreamResponse

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.serving.answers import Answers

# Before anything was streamed.
_NOTHING = StreamResponse("", "", "", is_last_chunk=True)


class Items:
    """The items of one stream.

    Args:
        answers: Makes the answer of what the program returned.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers, self._last = answers, _NOTHING

    def of(self, told: Any) -> Iterator[dict[str, Any]]:
        """The items of a chunk, of a message of a tool, or of what the program returned."""
        if isinstance(told, StreamResponse):
            self._last = told
            yield asdict(told)
        elif not isinstance(told, StatusMessage):
            yield self._beside({names.STREAM_PREDICTION: self._answers.whole(told)})
        elif self._answers.asked.status_messages:
            yield self._beside({names.STREAM_STATUS: told.message})

    def _beside(self, told: dict[str, Any]) -> dict[str, Any]:
        """An empty chunk of the field that was streamed last: whoever adds up its chunks adds nothing."""
        return {**asdict(self._last), "chunk": "", **told}
