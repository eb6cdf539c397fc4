"""What a trace says of the program that made it."""

import dspy

from mlflow_dspy_plugin.seams import spans as span_seam


def describe(call, program):
    span_seam.describe_trace(
        call.span, {"mlflow.dspy.program": type(program).__qualname__, "mlflow.dspy.version": dspy.__version__}, {}
    )
