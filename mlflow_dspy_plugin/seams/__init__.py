"""The only places that know names of DSPy or MLflow that are private or differ between releases."""
