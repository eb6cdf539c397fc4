"""The optimizers of DSPy and of a user, each with a budget of seconds, as a table."""

import collections
import contextlib
import functools
import importlib.util
import inspect
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dspy
import numpy as np
import optuna
import pytest
from dspy.teleprompt import InferRules
from dspy.teleprompt.teleprompt import Teleprompter

from integration.finetuning import FakeProvider
from mlflow_dspy_plugin.quickstart.program import TextClassifier

TASK, REFLECTION, JUDGE, FINETUNED = "task", "reflection", "judge", "finetuned"


@dataclass(frozen=True)
class Setting:
    """What every compile begins with.

    Attributes:
        address: Where the language models `task` and `reflection` are served.
        key: What they are asked with.
        trainset: Examples to learn from.
        valset: Others.
        earnings: More of one label.
    """

    address: str
    key: str
    trainset: Sequence[dspy.Example]
    valset: Sequence[dspy.Example]
    earnings: Sequence[dspy.Example]

    def lm(self, model: str = TASK, **options: Any) -> dspy.LM:
        """A language model."""
        options = {"temperature": 0.0, "max_tokens": 1000, "cache": False, **options}
        return dspy.LM(f"openai/{model}", api_base=self.address, api_key=self.key, **options)

    def program(self) -> dspy.Module:
        """The program to improve."""
        return TextClassifier(sorted({example.label for example in self.trainset}))

    def trainable(self) -> dspy.Module:
        """The program with a language model that a provider trains."""
        program = self.program()
        program.set_lm(self.lm(provider=FakeProvider()))
        return program


def right(example: Any, prediction: Any, trace: Any = None) -> bool:
    """Whether the label is right."""
    return example.label == prediction.label


def right_with_feedback(example: Any, prediction: Any, trace: Any = None, *_: Any, **__: Any) -> dspy.Prediction:
    """The same, in the form of GEPA's metrics."""
    return dspy.Prediction(score=float(right(example, prediction)), feedback=f"The right label is {example.label!r}.")


@dataclass(frozen=True)
class Case:
    """An optimizer with a small budget.

    Attributes:
        make: Makes it.
        name: The name of its class.
        given: The arguments of its `compile`.
        params: Parameters that its run has: of the constructor, of `compile`, and defaults.
        below: How often which optimizer calls which other.
        reflects: Whether it has something else than the program ask a language model.
        reflects_by: What stands in the prompts of that, where it asks the program's language model.
        metric: The name of its metric.
    """

    make: Callable[[Setting], Any]
    name: str
    given: Callable[[Setting], dict[str, Any]]
    params: Mapping[str, str]
    below: Mapping[tuple[str, str], int] = field(default_factory=dict)
    reflects: bool = False
    reflects_by: str | None = None
    metric: str | None = "right"


# -- what they are given ----------------------------------------------------------------------


def examples(setting: Setting) -> dict[str, Any]:
    return {"student": setting.program(), "trainset": list(setting.trainset)}


def with_validation(setting: Setting) -> dict[str, Any]:
    return {**examples(setting), "valset": list(setting.valset)}


# -- DSPy's -----------------------------------------------------------------------------------


def bootstrap(setting: Setting) -> Any:
    return dspy.BootstrapFewShot(metric=right, max_bootstrapped_demos=2, max_labeled_demos=4)


def random_search(setting: Setting, more: int = 1) -> Any:
    """Tries the student without demos, with labelled ones, with bootstrapped ones, and as many more."""
    return dspy.BootstrapFewShotWithRandomSearch(
        metric=right, max_bootstrapped_demos=2, max_labeled_demos=4, num_candidate_programs=more, num_threads=2
    )


def mipro(setting: Setting) -> Any:
    return dspy.MIPROv2(
        metric=right,
        prompt_model=setting.lm(REFLECTION, temperature=1.0),
        auto=None,
        num_candidates=3,
        max_bootstrapped_demos=2,
        max_labeled_demos=2,
        num_threads=1,
    )


def simba(setting: Setting) -> Any:
    prompt_model = {"prompt_model": setting.lm(REFLECTION)} if TAKES_PROMPT_MODEL else {}
    return dspy.SIMBA(metric=right, bsize=8, num_candidates=3, max_steps=2, max_demos=4, num_threads=1, **prompt_model)


def gepa(setting: Setting) -> Any:
    return dspy.GEPA(
        metric=right_with_feedback,
        max_metric_calls=90,
        reflection_lm=setting.lm(REFLECTION, temperature=1.0),
        num_threads=1,
        track_stats=True,
        seed=0,
    )


def copro(setting: Setting) -> Any:
    return dspy.COPRO(metric=right, prompt_model=setting.lm(REFLECTION), breadth=3, depth=2, init_temperature=1.0)


def bag_of_words(texts: Sequence[str]) -> np.ndarray:
    """Texts as counts of their words, by hash."""
    counts = np.zeros((len(texts), 64), dtype=np.float32)
    for row, text in enumerate(texts):
        for word, count in collections.Counter(re.findall(r"\w+", text)).items():
            counts[row, zlib.crc32(word.encode()) % 64] += count
    return counts


def knn(setting: Setting) -> Any:
    return dspy.KNNFewShot(
        k=2,
        trainset=list(setting.trainset),
        vectorizer=dspy.Embedder(bag_of_words),
        metric=right,
        max_bootstrapped_demos=1,
    )


def infer_rules(setting: Setting) -> Any:
    return InferRules(metric=right, num_candidates=2, num_rules=3, num_threads=1, max_bootstrapped_demos=2)


def bootstrap_optuna(setting: Setting) -> Any:
    """It gives its study no seed: see `seeded`."""
    return dspy.teleprompt.BootstrapFewShotWithOptuna(
        metric=right, max_bootstrapped_demos=2, max_labeled_demos=2, num_candidate_programs=3, num_threads=1
    )


def finetune(setting: Setting) -> Any:
    return dspy.BootstrapFinetune(metric=right, num_threads=2)


def better_together(setting: Setting) -> Any:
    names = ("p", "w") if TOGETHER_TAKES_ALL else ("prompt_optimizer", "weight_optimizer")
    optimizers = dict(zip(names, (random_search(setting, more=0), finetune(setting)), strict=True))
    return dspy.BetterTogether(metric=right, **optimizers, **({} if TOGETHER_TAKES_ALL else {"seed": 0}))


def grpo(setting: Setting) -> Any:
    from dspy.teleprompt.grpo import GRPO

    return GRPO(
        metric=right,
        exclude_demos=True,
        num_threads=1,
        num_train_steps=2,
        num_rollouts_per_grpo_step=2,
        num_dspy_examples_per_grpo_step=2,
        num_steps_for_val=1,
    )


def ensemble(setting: Setting) -> Any:
    return dspy.Ensemble(reduce_fn=dspy.majority)


def members(setting: Setting) -> dict[str, Any]:
    programs = []
    for place in range(3):
        program = setting.program()
        program.classify.demos = [dict(each) for each in setting.trainset[place::3]]
        programs.append(program)
    return {"programs": programs}


class Decider(dspy.Module):
    """Says whether a text is about earnings, or with which probability."""

    def __init__(self) -> None:
        super().__init__()
        signature = dspy.Signature("text -> label: bool", "Say whether the text is about earnings.")
        self.classify = dspy.Predict(signature.with_updated_fields("label", desc="Whether it is about earnings."))

    def forward(self, text: str) -> dspy.Prediction:
        return self.classify(text=text)


def judge(messages: Sequence[Mapping[str, Any]], body: Mapping[str, Any]) -> str:
    """A language model for it, which counts words; the probability is too low."""
    found = set(re.findall(r"\w+", messages[-1]["content"])) & {
        "profit",
        "loss",
        "net",
        "shr",
        "cts",
        "qtr",
        "dividend",
    }
    probability = min(0.45, 0.15 * len(found))
    asked = messages[0]["content"]
    answer = json.dumps({"noul": probability}) if "NoulEvidence" in asked else str(probability > 0.5)
    return f"[[ ## label ## ]]\n{answer}\n\n[[ ## completed ## ]]"


def reanchor(setting: Setting) -> Any:
    from dspy.teleprompt.reanchor import ReAnchor

    return ReAnchor(right, num_threads=1, require_cache=False)


def decisions(setting: Setting) -> dict[str, Any]:
    program = Decider()
    program.set_lm(setting.lm(JUDGE))
    rows = [dspy.Example(text=row.text, label=row.label == "earn") for row in (*setting.trainset, *setting.earnings)]
    return {"student": program, "trainset": [row.with_inputs("text") for row in rows]}


@contextlib.contextmanager
def seeded() -> Iterator[None]:
    """Have Optuna draw the same each time, where the optimizer does not ask for that."""
    with pytest.MonkeyPatch.context() as patch:
        sampler = optuna.samplers.TPESampler(seed=0)
        patch.setattr(optuna, "create_study", functools.partial(optuna.create_study, sampler=sampler))
        yield


# -- a user's ---------------------------------------------------------------------------------


class BestInstruction(Teleprompter):
    """Tries instructions; it exists before `autolog()`."""

    def __init__(self, instructions: Sequence[str], rounds: int = 3) -> None:
        super().__init__()
        self.instructions, self.rounds = instructions, rounds

    def tried(self, student: dspy.Module, trainset: Sequence[dspy.Example]) -> dspy.Module:
        """The best of the student with each instruction."""
        evaluate, best = dspy.Evaluate(devset=list(trainset), metric=right, num_threads=1), (-1.0, student)
        for instructions in ("", *self.instructions)[: self.rounds]:
            program = student.deepcopy()
            signature = program.classify.signature
            program.classify.signature = signature.with_instructions(f"{signature.instructions}{instructions}")
            score = float(getattr(found := evaluate(program), "score", found))
            best = max(best, (score, program), key=lambda each: each[0])
        return best[1]

    def compile(self, student: dspy.Module, *, trainset: Sequence[dspy.Example]) -> dspy.Module:
        return self.tried(student, trainset)


INSTRUCTIONS = (
    "\nTexts with words like 'profit', 'dividend', 'net' are 'earn'.",
    "\nTexts with words like 'profit', 'dividend', 'net' are 'earn'.\nTexts with words like 'wheat', 'corn' are 'grain'.",
)


def own(setting: Setting) -> Any:
    return BestInstruction(INSTRUCTIONS)


def own_awaited(setting: Setting) -> Any:
    class BestInstructionAwaited(BestInstruction):
        """It exists only after `autolog()`, and its `compile` is awaited."""

        async def compile(self, student: dspy.Module, *, trainset: Sequence[dspy.Example]) -> dspy.Module:
            return self.tried(student, trainset)

    return BestInstructionAwaited(INSTRUCTIONS)


# -- the table --------------------------------------------------------------------------------


def mipro_arguments(setting: Setting) -> dict[str, Any]:
    return {**with_validation(setting), "num_trials": 4, "minibatch_size": 6, "minibatch_full_eval_steps": 2}


def optuna_arguments(setting: Setting) -> dict[str, Any]:
    return {**with_validation(setting), "max_demos": 2}


def copro_arguments(setting: Setting) -> dict[str, Any]:
    return {**examples(setting), "eval_kwargs": {"num_threads": 1}}


def trainable_examples(setting: Setting) -> dict[str, Any]:
    return {"student": setting.trainable(), "trainset": list(setting.trainset)}


def together_arguments(setting: Setting) -> dict[str, Any]:
    given = {**trainable_examples(setting), "strategy": "p -> w"}
    return {**given, "valset": list(setting.valset), "seed": 0} if TOGETHER_TAKES_ALL else given


TAKES_PROMPT_MODEL = "prompt_model" in inspect.signature(dspy.SIMBA).parameters
TOGETHER_TAKES_ALL = "optimizers" in inspect.signature(dspy.BetterTogether).parameters

# An optimizer that bootstraps demos prepares its teacher by another one.
TEACHER = ("BootstrapFewShot", "LabeledFewShot")
SEARCH = "BootstrapFewShotWithRandomSearch"


def below_search(more: int) -> dict[tuple[str, str], int]:
    """What random search calls."""
    return {(SEARCH, "LabeledFewShot"): 1, (SEARCH, "BootstrapFewShot"): 1 + more, TEACHER: 1 + more}


CASES: dict[str, Case] = {
    "BootstrapFewShot": Case(
        bootstrap, "BootstrapFewShot", examples, {"max_bootstrapped_demos": "2", "max_rounds": "1"}, {TEACHER: 1}
    ),
    "random search": Case(
        random_search,
        SEARCH,
        with_validation,
        {"max_bootstrapped_demos": "2", "max_labeled_demos": "4"},
        below_search(1),
    ),
    "MIPROv2": Case(
        mipro,
        "MIPROv2",
        mipro_arguments,
        {
            "max_bootstrapped_demos": "2",
            "num_candidates": "3",
            "num_trials": "4",
            "minibatch_size": "6",
            "prompt_model": "openai/reflection",
            "seed": "9",
        },
        {("MIPROv2", "LabeledFewShot"): 1, ("MIPROv2", "BootstrapFewShot"): 1, TEACHER: 1},
        reflects=True,
    ),
    "SIMBA": Case(
        simba,
        "SIMBA",
        examples,
        {"bsize": "8", "max_steps": "2", "seed": "0"},
        reflects=True,
        reflects_by=None if TAKES_PROMPT_MODEL else "module_advice",
    ),
    "GEPA": Case(
        gepa,
        "GEPA",
        with_validation,
        {"max_metric_calls": "90", "reflection_lm": "openai/reflection", "candidate_selection_strategy": "pareto"},
        reflects=True,
        metric="right_with_feedback",
    ),
    "COPRO": Case(
        copro, "COPRO", copro_arguments, {"breadth": "3", "eval_kwargs": "{'num_threads': 1}"}, reflects=True
    ),
    "LabeledFewShot": Case(
        lambda setting: dspy.LabeledFewShot(k=6), "LabeledFewShot", examples, {"k": "6", "sample": "True"}, metric=None
    ),
    "KNNFewShot": Case(knn, "KNNFewShot", lambda setting: {"student": setting.program()}, {"k": "2"}),
    "BootstrapFinetune": Case(
        finetune, "BootstrapFinetune", trainable_examples, {"multitask": "True", "num_threads": "2"}
    ),
    "InferRules": Case(
        infer_rules,
        "InferRules",
        with_validation,
        {"num_candidates": "2", "num_rules": "3"},
        {("InferRules", "LabeledFewShot"): 1},
        reflects=True,
        reflects_by="natural_language_rules",
    ),
    "BetterTogether": Case(
        better_together,
        "BetterTogether",
        together_arguments,
        {"strategy": "p -> w"},
        {("BetterTogether", SEARCH): 1, ("BetterTogether", "BootstrapFinetune"): 1, **below_search(0)},
        metric="right" if TOGETHER_TAKES_ALL else None,
    ),
    "Ensemble": Case(ensemble, "Ensemble", members, {"reduce_fn": "majority", "deterministic": "False"}, metric=None),
    "Optuna": Case(
        bootstrap_optuna,
        "BootstrapFewShotWithOptuna",
        optuna_arguments,
        {"max_labeled_demos": "2", "max_demos": "2"},
        {("BootstrapFewShotWithOptuna", "BootstrapFewShot"): 1, TEACHER: 1},
    ),
    "GRPO": Case(
        grpo,
        "GRPO",
        lambda setting: {**trainable_examples(setting), "valset": list(setting.valset)},
        {"num_train_steps": "2", "failure_score": "0"},
    ),
    "own, before": Case(own, "BestInstruction", examples, {"rounds": "3"}),
    "own, after and awaited": Case(own_awaited, "BestInstructionAwaited", examples, {"rounds": "3"}),
}

if importlib.util.find_spec("dspy.teleprompt.reanchor"):
    CASES["ReAnchor"] = Case(reanchor, "ReAnchor", decisions, {"require_cache": "False"})
