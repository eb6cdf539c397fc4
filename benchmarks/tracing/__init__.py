"""What tracing costs and keeps, measured beside MLflow's own DSPy flavor, OpenInference and a floor, in one run."""
