"""One leaf file for each entry point that MLflow loads."""
