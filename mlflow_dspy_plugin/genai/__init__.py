"""DSPy's examples, metrics and predictors in the shapes of MLflow's GenAI tools, and back."""
