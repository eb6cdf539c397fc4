"""A first try without keys or network: a small in-context language model and a sample of news to label."""
