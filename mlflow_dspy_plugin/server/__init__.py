"""A server of one's own for models: MLflow's and OpenAI's protocols over HTTP, for production."""
