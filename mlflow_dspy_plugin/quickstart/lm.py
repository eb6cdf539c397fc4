"""The in-context classifier as a language model for DSPy, in the form that the installed release takes."""

from typing import Any

import dspy

MODEL = "quickstart/in-context-classifier"


def in_context_lm(seed: int = 0, **kwargs: Any) -> dspy.BaseLM:
    """Return a language model that needs neither key nor network.

    It chooses labels by comparing words, so demos and advice in the prompt really make it better.

    Args:
        seed: Where the sampling at temperatures above zero starts.
        kwargs: What `dspy.LM` takes, such as `temperature`. The cache is off by default, because answering takes
            less time than a look into the cache on disk.
    """
    options = {"temperature": 0.0, "cache": False, **kwargs}
    # A seam: only DSPy releases with engines can import the first module, and on them the second one is deprecated.
    if hasattr(dspy, "lm15"):
        from mlflow_dspy_plugin.quickstart.engine import AsyncInContextEngine, InContextEngine

        engines = {"engine": InContextEngine(seed), "async_engine": AsyncInContextEngine(seed)}
        return dspy.LM(MODEL, **engines, **options)
    from mlflow_dspy_plugin.quickstart.base_lm import InContextLM

    return InContextLM(MODEL, seed, **options)
