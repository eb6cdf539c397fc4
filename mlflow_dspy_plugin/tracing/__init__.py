"""Traces of DSPy programs: what runs becomes spans."""
