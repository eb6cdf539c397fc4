"""DSPy in MLflow's GenAI tools: its datasets, scorers, judges, evaluations and prompts."""
