"""The command of containers: `python -m mlflow_dspy_plugin.server`, which the environment tells everything."""

from mlflow_dspy_plugin.server import settings
from mlflow_dspy_plugin.server.process import serve

if __name__ == "__main__":
    serve(settings.from_environment())
