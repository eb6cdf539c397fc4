"""A program becomes a model folder that loads anywhere, and comes back from it."""
