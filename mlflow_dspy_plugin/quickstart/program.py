"""The program of the quickstart: one predictor that gives a text one of the labels."""

from collections.abc import Iterable

import dspy


class TextClassifier(dspy.Module):
    """Gives a text one of the labels.

    Args:
        labels: The labels to choose from.
    """

    def __init__(self, labels: Iterable[str]):
        super().__init__()
        signature = dspy.Signature("text -> label", "Say which label fits the text.")
        description = f"Label of predicted class. Possible labels are {sorted(labels)}"
        self.classify = dspy.Predict(signature.with_updated_fields("label", desc=description))

    def forward(self, text: str) -> dspy.Prediction:
        return self.classify(text=text)
