"""The script of the golden models from code."""

import mlflow

from tests.golden.program import make_program

mlflow.models.set_model(make_program())
