"""Programs that tell what their predictors say; in a file of its own, which imports little: saving looks at it."""

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


class SaysByToolOfAnother(dspy.Module):
    """Tells the instructions of a predictor by tools that are methods of a module which it takes in after them."""

    def __init__(self):
        super().__init__()
        teller = SaysByTool()
        self.tell = teller.tell
        self.agent = dspy.ReAct("question -> answer", tools=[teller.tell])
        self.teller = teller

    def forward(self, question: str):
        assert self.tell() == self.agent.tools["tell"]() == self.teller.tools["tell"]()
        return dspy.Prediction(answer=self.tell())


class SaysBoth(dspy.Module):
    """Tells the instructions of two predictors."""

    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict("question -> answer")
        self.check = dspy.Predict("question, answer -> right: bool")

    def forward(self, question: str):
        return dspy.Prediction(answer=f"{self.ask.signature.instructions} {self.check.signature.instructions}")


class SaysByTool(dspy.Module):
    """Tells the instructions of its predictor by a tool, which is a method of its own."""

    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict("question -> answer")
        self.tools = {"tell": dspy.Tool(self.tell)}
        self.telling = [self.tell]

    def tell(self) -> str:
        """Tell them."""
        return self.ask.signature.instructions

    def forward(self, question: str):
        assert self.tools["tell"]() == self.telling[0]()
        return dspy.Prediction(answer=self.tools["tell"]())
