"""The text of an answer that is sent while it is made, which nothing can take back."""

from dspy.streaming import StreamResponse

from mlflow_dspy_plugin.errors import CallError


class SentText:
    """What was sent of one answer: of the first call of one predictor, the text of one field.

    Args:
        predictor: The name of the predictor; None sends nothing before the answer is there.
        field: The name of its field.
    """

    def __init__(self, predictor: str | None, field: str | None) -> None:
        self._of, self._text, self._ended = (predictor, field), "", predictor is None

    def piece_of(self, chunk: StreamResponse) -> str:
        """What is to be sent of a chunk, which may be nothing."""
        if self._ended or (chunk.predict_name, chunk.signature_field_name) != self._of:
            return ""
        # Another call of the predictor gives another text.
        self._ended = chunk.is_last_chunk
        self._text += chunk.chunk
        return chunk.chunk

    def rest_of(self, answer: str | None) -> str:
        """What is to be sent of the answer after that.

        Raises:
            CallError: If the answer does not begin with what was sent.
        """
        answer = answer or ""
        if not answer.startswith(self._text):
            raise CallError(
                f"The program answered other than what was streamed, which is the text of {self._of[1]!r} as the "
                "language model wrote it. Call it without streaming, or stream the model logged without a task, which "
                "yields the whole prediction at the end."
            )
        return answer[len(self._text) :]
