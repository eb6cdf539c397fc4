"""A program that tells what its predictor says; in a file of its own, which imports little: saving looks at it."""

import dspy


class Says(dspy.Module):
    """Tells the instructions of its predictor, which stands in it twice."""

    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict("question -> answer")
        self.steps = [self.ask]

    def forward(self, question: str):
        assert self.steps[0] is self.ask
        return dspy.Prediction(answer=self.ask.signature.instructions)
