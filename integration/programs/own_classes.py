"""Logs a program of classes that stand in this script, by default, and the same one from code."""

import enum
import json
import os
from pathlib import Path

import dspy
import mlflow


class Label(str, enum.Enum):
    EARN = "earn"
    CRUDE = "crude"


ROWS = (
    ("the company reported a profit for the quarter and a dividend", Label.EARN),
    ("opec agreed on oil output and prices of crude per barrel", Label.CRUDE),
    ("net profit and dividend rose in the quarter", Label.EARN),
    ("barrels of oil were shipped as crude prices fell", Label.CRUDE),
)


class Judge(dspy.Signature):
    """Classify the text. Possible labels are earn and crude."""

    text: str = dspy.InputField()
    label: Label = dspy.OutputField()


def clean(text: str) -> str:
    return " ".join(text.lower().split())


class Classifier(dspy.Module):
    def __init__(self, mark: str = "#"):
        super().__init__()
        self.mark = mark
        self.judge = dspy.Predict(Judge)

    def forward(self, text: str) -> dspy.Prediction:
        found = self.judge(text=clean(text))
        return dspy.Prediction(label=found.label.value, marked=f"{self.mark}{found.label.name}")


# The same once more, as a file that sets its model.
SCRIPT = """
import dspy
import mlflow

config = mlflow.models.ModelConfig()

class Classifier(dspy.Module):
    def __init__(self):
        super().__init__()
        self.judge = dspy.Predict("text -> label: Literal['earn', 'crude']")

    def forward(self, text):
        label = self.judge(text=" ".join(text.lower().split())).label
        return dspy.Prediction(label=label, marked=config.get("mark") + label.upper())

mlflow.models.set_model(Classifier())
"""

if __name__ == "__main__":
    mlflow.set_experiment("own classes")
    dspy.configure(lm=dspy.LM("openai/in-context-classifier", api_base=os.environ["LM_URL"], temperature=0.0))
    rows = [dspy.Example(text=text, label=label).with_inputs("text") for text, label in ROWS]
    program = dspy.LabeledFewShot(k=4).compile(Classifier(mark="*"), trainset=rows)
    Path("classifier.py").write_text(SCRIPT)
    with mlflow.start_run():
        default = mlflow.dspy.log_model(program, name="default", registered_model_name="own-classes")
        configured = mlflow.dspy.log_model(program, name="configured", model_config={"mark": "+"})
        state = program.dump_state()
        of_code = mlflow.dspy.log_model(
            "classifier.py",
            name="code",
            compiled_state=state,
            model_config={"mark": "@"},
            input_example={"text": "oil"},
        )
    texts = ["Profit  rose, and a DIVIDEND was paid", "Crude oil per barrel"]
    result = {
        "texts": texts,
        "answers": [program(text=text).toDict() for text in texts],
        "uris": {"default": default.model_uri, "configured": configured.model_uri, "code": of_code.model_uri},
        "registered": "models:/own-classes/1",
        "own": isinstance(mlflow.dspy.load_model(default.model_uri), Classifier),
    }
    Path(os.environ["RESULT_FILE"]).write_text(json.dumps(result))
