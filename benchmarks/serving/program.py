"""The program that is served, and the model that either flavor makes of it.

As a module it saves that model: `python -m benchmarks.serving.program API_BASE FOLDER`.
"""

import sys

import dspy

QUESTION = {"question": "What kind of bear is best?"}


def make_program(api_base: str) -> dspy.Module:
    """A ChainOfThought, and its language model as DSPy's; DSPy's cache is off."""
    dspy.configure(lm=dspy.LM("openai/gpt-4o-mini", api_base=api_base, cache=False))
    return dspy.ChainOfThought("question -> answer")


def main() -> None:
    """Save the model; says by which package's flavor."""
    import mlflow

    api_base, folder = sys.argv[1:]
    mlflow.dspy.save_model(make_program(api_base), folder, input_example=QUESTION)
    print(mlflow.dspy.save_model.__module__.split(".")[0])


if __name__ == "__main__":
    main()
