"""The quickstart notebook of MLflow's DSPy flavor, cell by cell.

The code is that of docs/docs/genai/flavors/dspy/notebooks/dspy_quickstart.ipynb in
https://github.com/mlflow/mlflow (Apache-2.0), quoted as test input, without its comments. What differs
is marked `Stands in`: where the data comes from and where the language model is. A seed is added.
"""
# Cells import where they need it, and their lines stay as they are.
# ruff: noqa: B905, E402
# fmt: off

import getpass
import os

os.environ["OPENAI_API_KEY"] = getpass.getpass("Enter your OpenAI Key:")

import dspy

# Stands in for "gpt-4o-mini".
model_name = "in-context-classifier"

lm = dspy.LM(
    model=f"openai/{model_name}",
    max_tokens=500,
    temperature=0.1,
    # Stands in for OpenAI's own address.
    api_base=os.environ["LM_URL"],
)
dspy.settings.configure(lm=lm)

import mlflow

mlflow.set_experiment("DSPy Quickstart")

mlflow.dspy.autolog()

import numpy as np
import pandas as pd
from dspy.datasets.dataset import Dataset

# The notebook samples another set of documents at each run; a test has to fail twice alike.
np.random.seed(0)


def read_data_and_subset_to_categories() -> tuple[pd.DataFrame]:
    # Stands in for load_dataset("yangwang825/reuters-21578"), whose labels are numbers.
    train = pd.read_csv(f"{os.environ['REUTERS_R8']}/train.tsv", sep="\t")
    test = pd.read_csv(f"{os.environ['REUTERS_R8']}/test.tsv", sep="\t")

    return train, test


class CSVDataset(Dataset):
    def __init__(
        self, n_train_per_label: int = 20, n_test_per_label: int = 10, *args, **kwargs
    ) -> None:
        super().__init__(*args, **kwargs)
        self.n_train_per_label = n_train_per_label
        self.n_test_per_label = n_test_per_label

        self._create_train_test_split_and_ensure_labels()

    def _create_train_test_split_and_ensure_labels(self) -> None:
        """Perform a train/test split that ensure labels in `dev` are also in `train`."""
        train_df, test_df = read_data_and_subset_to_categories()

        train_samples_df = pd.concat([
            group.sample(n=self.n_train_per_label) for _, group in train_df.groupby("label")
        ])
        test_samples_df = pd.concat([
            group.sample(n=self.n_test_per_label) for _, group in test_df.groupby("label")
        ])

        self._train = train_samples_df.to_dict(orient="records")
        self._dev = test_samples_df.to_dict(orient="records")


dataset = CSVDataset(n_train_per_label=3, n_test_per_label=1)

train_dataset = [example.with_inputs("text") for example in dataset.train]
test_dataset = [example.with_inputs("text") for example in dataset.dev]
unique_train_labels = {example.label for example in dataset.train}

print(len(train_dataset), len(test_dataset))
print(f"Train labels: {unique_train_labels}")
print(train_dataset[0])


class TextClassificationSignature(dspy.Signature):
    text = dspy.InputField()
    label = dspy.OutputField(
        desc=f"Label of predicted class. Possible labels are {unique_train_labels}"
    )


class TextClassifier(dspy.Module):
    def __init__(self):
        super().__init__()
        self.generate_classification = dspy.Predict(TextClassificationSignature)

    def forward(self, text: str):
        return self.generate_classification(text=text)


text_classifier = TextClassifier()

message = "I am interested in space"
print(text_classifier(text=message))

message = "I enjoy ice skating"
print(text_classifier(text=message))

from dspy import SIMBA


def validate_classification(example, prediction, trace=None) -> bool:
    return example.label == prediction.label


optimizer = SIMBA(
    metric=validate_classification,
    max_demos=2,
    bsize=12,
    num_threads=1,
)

compiled_pe = optimizer.compile(TextClassifier(), trainset=train_dataset)


def check_accuracy(classifier, test_data: pd.DataFrame = test_dataset) -> float:
    residuals = []
    predictions = []
    for example in test_data:
        prediction = classifier(text=example["text"])
        residuals.append(int(validate_classification(example, prediction)))
        predictions.append(prediction)
    return residuals, predictions


uncompiled_residuals, uncompiled_predictions = check_accuracy(TextClassifier())
print(f"Uncompiled accuracy: {np.mean(uncompiled_residuals)}")

compiled_residuals, compiled_predictions = check_accuracy(compiled_pe)
print(f"Compiled accuracy: {np.mean(compiled_residuals)}")

for uncompiled_residual, uncompiled_prediction in zip(uncompiled_residuals, uncompiled_predictions):
    is_correct = "Correct" if bool(uncompiled_residual) else "Incorrect"
    prediction = uncompiled_prediction.label
    print(f"{is_correct} prediction: {' ' * (12 - len(is_correct))}{prediction}")

for compiled_residual, compiled_prediction in zip(compiled_residuals, compiled_predictions):
    is_correct = "Correct" if bool(compiled_residual) else "Incorrect"
    prediction = compiled_prediction.label
    print(f"{is_correct} prediction: {' ' * (12 - len(is_correct))}{prediction}")

import mlflow

with mlflow.start_run():
    model_info = mlflow.dspy.log_model(
        compiled_pe,
        name="model",
        input_example="what is 2 + 2?",
    )

print("\n==============Input Text============")
text = test_dataset[0]["text"]
print(f"Text: {text}")

print("\n--------------Original DSPy Prediction------------")
print(compiled_pe(text=text).label)

print("\n--------------Loaded DSPy Prediction------------")
loaded_model_dspy = mlflow.dspy.load_model(model_info.model_uri)
print(loaded_model_dspy(text=text).label)

loaded_model_pyfunc = mlflow.pyfunc.load_model(model_info.model_uri)
print("\n--------------PyFunc Prediction------------")
print(loaded_model_pyfunc.predict(text)["label"])

# The notebook ends here, and its kernel stays; a script ends, so its traces have to be stored now.
mlflow.flush_trace_async_logging()

# What follows is for the test.
import json
from pathlib import Path

result = {
    "model_uri": model_info.model_uri,
    "texts": [example["text"] for example in test_dataset],
    "labels": [prediction.label for prediction in compiled_predictions],
}
Path(os.environ["RESULT_FILE"]).write_text(json.dumps(result))
