"""An agent with two tools, and a predictor whose language model calls one by itself, in a session."""

import os

import dspy
import mlflow

mlflow.dspy.autolog()
mlflow.set_experiment("Weather")
dspy.configure(lm=dspy.LM("openai/gpt-4o", api_base=os.environ["LM_URL"]))


def weather(city: str) -> str:
    """The weather in a city now."""
    return {"Rome": "Sunny, 31 degrees Celsius"}.get(city, "Rain")


def to_fahrenheit(celsius: float) -> str:
    """Degrees Celsius in Fahrenheit."""
    return f"{celsius * 9 / 5 + 32:.0f} degrees Fahrenheit"


class Plan(dspy.Signature):
    """Say which tools to call."""

    question: str = dspy.InputField()
    tools: list[dspy.Tool] = dspy.InputField()
    calls: dspy.ToolCalls = dspy.OutputField()


agent = dspy.ReAct("question -> answer", tools=[weather, to_fahrenheit])
with mlflow.tracing.context(session_id="rome-trip"):
    agent(question="How warm is Rome, in Fahrenheit?")
    with dspy.context(adapter=dspy.ChatAdapter(use_native_function_calling=True)):
        dspy.Predict(Plan)(question="Is it warmer in Rome or in Oslo?", tools=[dspy.Tool(weather)])
