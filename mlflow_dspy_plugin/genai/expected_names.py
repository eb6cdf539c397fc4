"""The names under which MLflow's own tools look for what is expected; none of them is the name of an output."""

# Of what the one output of a program should be.
OF_THE_ONE_OUTPUT = ("expected_response", "expected_output", "expected_answer", "ground_truth")
# Of all else.
_OF_NO_OUTPUT = ("expected_facts", "expected_retrieved_context", "guidelines")
OF_MLFLOW = frozenset((*OF_THE_ONE_OUTPUT, *_OF_NO_OUTPUT))
