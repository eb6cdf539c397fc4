"""Places in which a secret can sit: how it is put there, and what becomes of it when the model is saved.

The rows are grouped by what tells that there is a secret. A new place is one row.
"""

import collections
import enum
import functools
import json
import linecache
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import dspy
import numpy as np
import pandas as pd
import requests
from mlflow.models import ModelSignature
from mlflow.models.resources import DatabricksServingEndpoint
from mlflow.types.schema import ColSpec, DataType, ParamSchema, ParamSpec, Schema

from tests.packaging.canaries import CANARIES
from tests.packaging.secret_holders import (
    Account,
    Adapter,
    Client,
    Dumping,
    Engine,
    FrozenAccount,
    Login,
    Retriever,
    Slots,
    Vault,
    Watch,
    weather,
)

PICKLED = ("cloudpickle", "dspy")
PLAIN = ("json", *PICKLED)
NOT_PLAIN = (None, *PICKLED)
SCRIPT = ("script",)


@dataclass
class Given:
    """What is saved: a program, DSPy's settings, other arguments of `save_model`, and files beside them."""

    program: Any = field(default_factory=lambda: predictor())
    settings: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where a canary is put, and what becomes of it.

    Attributes:
        put: Makes what is saved, with a canary in the place.
        where: What the report, or the error, calls the place.
        outcomes: What becomes of each kind of canary: "left out", "redacted", "refused" or "forgotten".
        formats: The formats to save it in.
        noted: Whether the report names the variable of the environment: not where its value is quoted.
    """

    put: Callable[[str], Given]
    where: str
    outcomes: Mapping[str, str]
    formats: tuple[str | None, ...] = PLAIN
    noted: bool = True


def telling(where: str, put: Callable[[str], Given], *formats: str | None) -> Place:
    """A place whose name says that it is secret: whatever stands there is left out."""
    return Place(put, where, dict.fromkeys(CANARIES, "left out"), formats or PLAIN)


def formed(where: str, put: Callable[[str], Given], *formats: str | None) -> Place:
    """A place in a text whose form tells that it is secret, such as the password of a URL."""
    return Place(put, where, dict.fromkeys(CANARIES, "redacted"), formats or PLAIN, noted=False)


def mute(where: str, put: Callable[[str], Given], *formats: str | None) -> Place:
    """A place whose name says nothing: a form is redacted, and what the environment holds stops the saving."""
    outcomes = {"of a known form": "redacted", "of the environment": "refused"}
    return Place(put, where, outcomes, formats or PLAIN)


def code(where: str, put: Callable[[str], Given], *formats: str | None) -> Place:
    """Code that gives it to a telling name."""
    return Place(put, where, dict.fromkeys(CANARIES, "refused"), formats or PLAIN)


def quoted(where: str, put: Callable[[str], Given]) -> Place:
    """A telling place that holds more than the value, quoted."""
    return Place(put, where, dict.fromkeys(CANARIES, "left out"), noted=False)


def mute_code(where: str, put: Callable[[str], Given], *formats: str | None) -> Place:
    """Code, or a text that steers the program, in which it stands without a name."""
    return Place(put, where, dict.fromkeys(("of a known form", "of the environment"), "refused"), formats or PLAIN)


def forgotten(put: Callable[[str], Given], *formats: str | None) -> Place:
    """What is past: it is not saved at all, whatever it holds."""
    return Place(put, "", dict.fromkeys(CANARIES, "forgotten"), formats or PLAIN)


# -- what holds them ----------------------------------------------------------------------------


def predictor() -> dspy.Predict:
    return dspy.Predict("question -> answer")


def lm(**arguments: Any) -> dspy.LM:
    return dspy.LM("openai/m", **arguments)


def set_to(obj: Any, **attributes: Any) -> Any:
    for name, value in attributes.items():
        setattr(obj, name, value)
    return obj


def with_lm(**arguments: Any) -> Given:
    """A language model in the settings, and another one on a predictor."""
    return Given(set_to(predictor(), lm=lm(**arguments)), {"lm": lm(temperature=0.5, **arguments)})


def holding(value: Any) -> Given:
    """An attribute of the program that is called neutrally."""
    return Given(set_to(predictor(), held=value))


def with_rm(rm: Any) -> Given:
    return Given(settings={"rm": rm})


def with_tool(tool: Any) -> Given:
    return Given(dspy.ReAct("question -> answer", tools=[tool]))


def answering(**changes: Any) -> Given:
    """A predictor of which something is changed."""
    return Given(set_to(predictor(), **changes))


def signed(signature: Any) -> Given:
    return Given(dspy.Predict(signature))


def taking(annotation: Any) -> Given:
    """A predictor with an input of a type."""
    return signed(
        dspy.make_signature({"question": (annotation, dspy.InputField()), "answer": (str, dspy.OutputField())})
    )


def field_with(**arguments: Any) -> Given:
    fields = {"question": (str, dspy.InputField(**arguments)), "answer": (str, dspy.OutputField())}
    return signed(dspy.make_signature(fields))


def saved_with(**arguments: Any) -> Given:
    return Given(arguments=arguments)


def url(secret: str) -> str:
    return f"http://user:{quote(secret, safe='')}@127.0.0.1:9/v1"


def pem(secret: str) -> str:
    return f"-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n"


def in_main(source: str, name: str = "tool") -> Given:
    """A function or class of `__main__`, as a script of the user's defines it."""
    file = f"<secret place {name} {abs(hash(source))}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    variables: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, file, "exec"), variables)
    return holding(variables[name])


def scripted(source: str, **arguments: Any) -> Given:
    """A model from code; the source comes before its program."""
    text = f"{source}\nimport dspy, mlflow\nmlflow.models.set_model(dspy.Predict('question -> answer'))\n"
    return Given("script.py", arguments=arguments, files={"script.py": text})


def shipped(name: str, text: str) -> Given:
    """A file that is shipped by `code_paths`."""
    return Given(arguments={"code_paths": ["shipped"]}, files={"shipped/__init__.py": "", f"shipped/{name}": text})


def closing_over(secret: str) -> Callable:
    def closure(city: str) -> str:
        return secret + city

    return closure


def keyword_default(secret: str) -> Callable:
    def tool(city: str, *, api_key: str = secret) -> str:
        return city

    return tool


def session(**attributes: Any) -> requests.Session:
    made = requests.Session()
    made.headers.update(attributes.pop("headers", {}))
    return set_to(made, **attributes)


def past_call(secret: str) -> list[dict[str, Any]]:
    return [{"prompt": secret, "messages": [{"content": secret}], "kwargs": {"api_key": secret}}]


# -- the table ----------------------------------------------------------------------------------

_LM = r"LM\.kwargs\."
LANGUAGE_MODELS = {
    "api_key": telling(_LM + "api_key", lambda c: with_lm(api_key=c)),
    "headers": telling(_LM + "headers.Authorization", lambda c: with_lm(headers={"Authorization": f"Bearer {c}"})),
    "extra_headers": telling(
        _LM + "extra_headers.x-my-gateway", lambda c: with_lm(extra_headers={"x-my-gateway": c, "User-Agent": "t"})
    ),
    "azure_ad_token": telling(_LM + "azure_ad_token", lambda c: with_lm(azure_ad_token=c)),
    "azure client_secret": telling(_LM + "client_secret", lambda c: with_lm(client_secret=c)),
    "aws_secret_access_key": telling(_LM + "aws_secret_access_key", lambda c: with_lm(aws_secret_access_key=c)),
    "aws_session_token": telling(_LM + "aws_session_token", lambda c: with_lm(aws_session_token=c)),
    "vertex_credentials": quoted(
        _LM + "vertex_credentials", lambda c: with_lm(vertex_credentials=json.dumps({"private_key": pem(c)}))
    ),
    "vertex_credentials as a dict": telling(
        _LM + r"vertex_credentials\.token_uri", lambda c: with_lm(vertex_credentials={"token_uri": {"x": c}})
    ),
    "api_base with user and password": formed(_LM + "api_base", lambda c: with_lm(api_base=url(c))),
    "api_base with a key": formed(_LM + "api_base", lambda c: with_lm(api_base=f"http://h/v1?api-key={quote(c)}")),
    "base_url with a subscription key": formed(
        _LM + "base_url", lambda c: with_lm(base_url=f"http://h/v1?subscription-key={quote(c)}&v=1")
    ),
    "extra_body": telling(_LM + "extra_body.auth.token", lambda c: with_lm(extra_body={"auth": [{"token": c}]})),
    "model_list": telling(
        _LM + r"model_list\.litellm_params\.api_key",
        lambda c: with_lm(model_list=[{"model_name": "m", "litellm_params": {"model": "openai/m", "api_key": c}}]),
    ),
    "an argument without a telling name": mute(_LM + "user", lambda c: with_lm(user=c)),
    "the model's name": mute(r"LM\.model", lambda c: Given(settings={"lm": dspy.LM(f"openai/{c}")})),
    "launch_kwargs": telling(r"LM\.launch_kwargs\.hf_token", lambda c: with_lm(launch_kwargs={"hf_token": c})),
    "train_kwargs": telling(r"LM\.train_kwargs\.api_key", lambda c: with_lm(train_kwargs={"api_key": c})),
    "provider": telling(
        r"OpenAIProvider\.api_key",
        lambda c: Given(settings={"lm": set_to(lm(), provider=set_to(lm().provider, api_key=c))}),
    ),
    "callable for tokens": code("closure", lambda c: with_lm(azure_ad_token_provider=closing_over(c)), *NOT_PLAIN),
    "dump_state of its own": telling(
        r"settings\.lm\.api_key|Dumping\.said\.api_key", lambda c: Given(settings={"lm": Dumping("m", api_key=c)})
    ),
    "a retriever's attribute": telling(r"Retriever\.password", lambda c: with_rm(Retriever(password=c))),
    "a retriever's url": formed(r"Retriever\.url", lambda c: with_rm(Retriever(url=url(c)))),
    "ColBERTv2's url": formed(r"ColBERTv2\.url", lambda c: with_rm(dspy.ColBERTv2(url=url(c)))),
    "Embedder's arguments": telling(
        r"Embedder\.default_kwargs\.api_key", lambda c: holding(dspy.Embedder("openai/m", api_key=c))
    ),
    "Embedder's headers": telling(
        r"Embedder\.default_kwargs\.headers\.X-Key", lambda c: holding(dspy.Embedder("openai/m", headers={"X-Key": c}))
    ),
    "an adapter's attribute": telling(r"Adapter\.api_key", lambda c: Given(settings={"adapter": Adapter(api_key=c)})),
    "TwoStepAdapter's language model": telling(
        _LM + "api_key", lambda c: Given(settings={"adapter": dspy.TwoStepAdapter(lm(api_key=c))})
    ),
    "a setting of the user's own": telling(
        r"settings\.service_token|dspy\.settings\.service_token", lambda c: Given(settings={"service_token": c})
    ),
}
if hasattr(dspy, "lm15"):
    LANGUAGE_MODELS["an engine"] = telling(
        r"engine.*api_key|Engine\.said\.api_key",
        lambda c: Given(settings={"lm": dspy.LM("openai/m", engine=Engine(api_key=c))}),
    )

ATTRIBUTES = {
    "a text": telling(r"Predict\.api_key", lambda c: Given(set_to(predictor(), api_key=c))),
    "bytes": telling(r"Predict\.password", lambda c: Given(set_to(predictor(), password=c.encode()))),
    "a bytearray": telling(r"Client\.password", lambda c: holding(Client(password=bytearray(c.encode()))), *NOT_PLAIN),
    "bytes without a telling name": mute(r"Predict\.held", lambda c: holding(f"key {c}".encode())),
    "a text without a telling name": mute(r"Predict\.held", lambda c: holding(f"it is {c}")),
    "a connection string": formed(r"Predict\.held", lambda c: holding(f"Server=h;Uid=u;Pwd={quote(c)};")),
    "a private key": formed(r"Predict\.held", lambda c: holding(pem(c))),
    "deep in containers": telling(r"Predict\.held\.a\.password", lambda c: holding([{"a": ({"password": [c]},)}])),
    "a dict in a list in a dataclass": telling(
        r"Account\.notes\.token", lambda c: holding(Account(notes=[{"token": c}]))
    ),
    "a dataclass": telling(r"Account\.password", lambda c: holding(Account(password=c))),
    "a frozen dataclass": telling(r"FrozenAccount\.password", lambda c: holding(FrozenAccount(c)), *NOT_PLAIN),
    "a value under a telling name": telling(
        r"Predict\.credentials\.notes|Account\.notes",
        lambda c: Given(set_to(predictor(), credentials=Account(notes=c))),
    ),
    "a named tuple": telling(r"Login\.password", lambda c: holding(Login("h", c)), *NOT_PLAIN),
    "SecretStr": telling(r"SecretStr\._secret_value|Vault", lambda c: holding(Vault(key=c)), *NOT_PLAIN),
    "a private attribute of pydantic": telling(r"Slots\._api_key", lambda c: holding(set_to(Slots(), _api_key=c))),
    "a key of a dict": mute(r"Predict\.held", lambda c: holding({c: 1})),
    "a set": mute(r"Predict\.held", lambda c: holding({c, "b"})),
    "a path": mute(r"Predict\.held", lambda c: holding(Path("/tmp", f"k {c}"))),
    "an array of texts": mute(r"Predict\.held", lambda c: holding(np.array([f"a key {c}", "b"]))),
    "an array of objects": mute("ndarray", lambda c: holding(np.array([f"a key {c}", 3], dtype=object)), *NOT_PLAIN),
    "a table": mute(
        "ndarray|StringArray|DataFrame",
        lambda c: holding(pd.DataFrame({"a": [f"a key {c}"]}, dtype=object)),
        *NOT_PLAIN,
    ),
    "an ordered dict": telling(
        "OrderedDict.api_key", lambda c: holding(collections.OrderedDict(api_key=c)), *NOT_PLAIN
    ),
    "a partial": telling(r"partial.*api_key", lambda c: holding(functools.partial(weather, api_key=c)), *NOT_PLAIN),
    "a session's headers": telling(
        r"Session\.headers\.x-my-gateway", lambda c: holding(session(headers={"x-my-gateway": c})), *NOT_PLAIN
    ),
    "a session's login": telling(r"Session\.auth", lambda c: holding(session(auth=("me", c))), *NOT_PLAIN),
    "a session's cookies": telling(
        "Cookie", lambda c: holding(session(cookies=requests.cookies.cookiejar_from_dict({"sid": c}))), *NOT_PLAIN
    ),
    "a tool's method": telling(r"Client\.api_key", lambda c: with_tool(Client(api_key=c).ask), *NOT_PLAIN),
    "a tool's attribute": mute(r"Tool\.desc", lambda c: holding(dspy.Tool(weather, desc=f"With {c}"))),
    "an agent's tool": mute_code("__doc__", lambda c: with_tool(dspy.Tool(weather, desc=f"With {c}"))),
    # The default travels with the function, too.
    "the default of a tool's argument": code(
        "api_key", lambda c: holding(dspy.Tool(keyword_default(c), name="t")), *NOT_PLAIN
    ),
    "the default in a tool's schema": telling(
        r"Tool\.args\.api_key\.default",
        lambda c: holding(dspy.Tool(weather, args={"city": {"type": "string"}, "api_key": {"default": c}})),
    ),
    # It stands in the agent's instructions, too.
    "the default in the schema of an agent's tool": code(
        r"Tool\.args\.api_key\.default|__doc__",
        lambda c: with_tool(dspy.Tool(weather, args={"city": {"type": "string"}, "api_key": {"default": c}})),
    ),
}

PROMPTS = {
    "a demo": mute(r"Example|demos", lambda c: answering(demos=[dspy.Example(question=f"my key {c}", answer="b")])),
    "a demo as a dict": mute(r"demos", lambda c: answering(demos=[{"question": f"my key {c}", "answer": "b"}])),
    "instructions": mute_code("__doc__", lambda c: signed(dspy.Signature("question -> answer", f"Use {c}."))),
    "a field's description": mute("question|desc|Signature", lambda c: field_with(desc=f"like {c}")),
    "a field's default": mute("question|default|Signature", lambda c: field_with(default=f"like {c}")),
    "a field's prefix": mute("question|prefix|Signature", lambda c: field_with(prefix=f"Key {c}:")),
    "a Literal": mute_code("question|environment variable", lambda c: taking(Literal[c, "b"]), "json"),
    "a Literal in a pickle": mute("Signature|Literal", lambda c: taking(Literal[c, "b"]), *PICKLED),
    "a member of an Enum": mute_code("Kind", lambda c: taking(enum.Enum("Kind", {"ONE": c, "TWO": "two"}))),
    "a predictor's configuration": telling(
        r"Predict\.config\.api_key", lambda c: Given(dspy.Predict("question -> answer", api_key=c))
    ),
    "history of a language model": forgotten(lambda c: Given(settings={"lm": set_to(lm(), history=past_call(c))})),
    "history of a program": forgotten(lambda c: Given(set_to(predictor(), history=past_call(c)))),
    "traces of a predictor": forgotten(lambda c: answering(traces=[{"trace": c}])),
    "trace of the settings": forgotten(lambda c: Given(settings={"trace": [(c, c, c)]})),
    "callbacks of the settings": forgotten(lambda c: Given(settings={"callbacks": [Watch(c)]})),
    "callbacks of a program": forgotten(lambda c: Given(set_to(predictor(), callbacks=[Watch(c)]))),
    "callbacks of a language model": forgotten(lambda c: Given(settings={"lm": lm(callbacks=[Watch(c)])})),
}

_DECORATOR = "def keep(key): return lambda function: function\n"
CODE = {
    "a closure": code("secret", lambda c: holding(closing_over(c)), *NOT_PLAIN),
    "a closure in a lambda": mute_code("in x", lambda c: holding((lambda x: lambda city: x)(c)), *NOT_PLAIN),
    "a default argument": code("api_key", lambda c: holding(keyword_default(c)), *NOT_PLAIN),
    "a global of a script": code("API_KEY", lambda c: in_main(f"API_KEY = {c!r}\ndef tool(city): return API_KEY\n")),
    "a global read by a decorator": code(
        "API_KEY",
        lambda c: in_main(f"{_DECORATOR}API_KEY = {c!r}\n@keep(API_KEY)\ndef tool(city): return city\n"),
        "json",
    ),
    "a global dict of a script": code(
        r"CONFIG\.password", lambda c: in_main(f"CONFIG = {{'password': {c!r}}}\ndef tool(city): return CONFIG\n")
    ),
    "a constant of a script": mute_code("tool", lambda c: in_main(f"def tool(city): return {f'key {c}'!r}\n")),
    "a call in a script": code("tool", lambda c: in_main(f"def tool(city): return dict(api_key={c!r})\n")),
    "a variable of the environment set in a script": code(
        "tool", lambda c: in_main(f"import os\ndef tool(city): os.environ['MY_API_KEY'] = {c!r}\n")
    ),
    "a comment of a script": mute_code(
        "tool", lambda c: in_main(f"def tool(city):\n    # {c}\n    return city\n"), "json"
    ),
    "a comment with a name": code(
        "tool", lambda c: in_main(f"def tool(city):\n    # api_key = {c!r}\n    return city\n"), "json"
    ),
    "a class of a script": code(
        "Tool", lambda c: in_main(f"class Tool:\n    api_key: str = {c!r}\n    def ask(self): return 1\n", "Tool")
    ),
}

FILES = {
    "code_paths: an assignment": code("shipped/a.py", lambda c: shipped("a.py", f"API_KEY = {c!r}\n")),
    "code_paths: an annotated one": code("shipped/a.py", lambda c: shipped("a.py", f"API_KEY: str = {c!r}\n")),
    "code_paths: a default": code("shipped/a.py", lambda c: shipped("a.py", f"def f(api_key={c!r}): pass\n")),
    "code_paths: the environment": code(
        "shipped/a.py", lambda c: shipped("a.py", f"import os\nos.environ['MY_TOKEN'] = {c!r}\n")
    ),
    "code_paths: a fallback": code(
        "shipped/a.py", lambda c: shipped("a.py", f"import os\nkey = os.getenv('MY_TOKEN', {c!r})\n")
    ),
    "code_paths: bytes": code("shipped/a.py", lambda c: shipped("a.py", f"password = {c.encode()!r}\n")),
    "code_paths: a comment": mute_code("shipped/a.py", lambda c: shipped("a.py", f"# try {c}\n")),
    "code_paths: .env": code("shipped/.env", lambda c: shipped(".env", f"export MY_API_KEY={c}\n")),
    "code_paths: JSON": code("shipped/a.json", lambda c: shipped("a.json", json.dumps({"x": {"api_key": c}}))),
    "code_paths: YAML": code("shipped/a.yaml", lambda c: shipped("a.yaml", f"x:\n  api_key: {json.dumps(c)}\n")),
    "code_paths: a text": mute_code("shipped/a.txt", lambda c: shipped("a.txt", f"call {c} now")),
    "a script: an assignment": code("script.py", lambda c: scripted(f"API_KEY = {c!r}"), *SCRIPT),
    "a script: a comment": mute_code("script.py", lambda c: scripted(f"# {c}"), *SCRIPT),
    "a script: its settings": telling(
        _LM + "api_key",
        lambda c: Given("script.py", {"lm": lm(api_key=c)}, files=scripted("").files), *SCRIPT,
    ),
    "a script: its state": mute(
        "state",
        lambda c: scripted("", compiled_state=answering(demos=[{"question": f"key {c}", "answer": "b"}]).program),
        *SCRIPT,
    ),
    "a script: the language model of its state": telling(
        r"compiled_state\.lm\.extra_headers\.x-gate",
        lambda c: scripted("", compiled_state=answering(lm=lm(extra_headers={"x-gate": c})).program), *SCRIPT,
    ),
    "a script: model_config": telling(
        r"model_config\.api_key", lambda c: scripted("", model_config={"api_key": c, "k": 1}), *SCRIPT
    ),
}  # fmt: skip

ARGUMENTS = {
    "model_config": telling(r"model_config\.db\.password", lambda c: saved_with(model_config={"db": {"password": c}})),
    "model_config without a telling name": mute(r"model_config\.u", lambda c: saved_with(model_config={"u": f"a {c}"})),
    "a key of model_config": mute("model_config", lambda c: saved_with(model_config={c: 1})),
    "an input example": mute("input_example", lambda c: saved_with(input_example=f"key {c}?")),
    "an input example as a dict": mute(
        "input_example", lambda c: saved_with(input_example={"question": f"key {c}?"})
    ),
    "an input example as a table": mute(
        "input_example", lambda c: saved_with(input_example=pd.DataFrame([{"question": f"key {c}?"}]))
    ),
    "params of an input example": telling(
        "input_example.*api_key", lambda c: saved_with(input_example=({"question": "?"}, {"api_key": c}))
    ),
    "metadata": telling(r"metadata\.a\.token", lambda c: saved_with(metadata={"a": [{"token": c}]})),
    "metadata without a telling name": formed(r"metadata\.a", lambda c: saved_with(metadata={"a": url(c)})),
    "a default of the signature": code(
        "signature.*api_key",
        lambda c: saved_with(
            signature=ModelSignature(
                Schema([ColSpec("string", "question")]), params=ParamSchema([ParamSpec("api_key", DataType.string, c)])
            )
        ),
    ),
    "pip_requirements": formed(
        "requirements",
        lambda c: saved_with(pip_requirements=["dspy", f"--extra-index-url https://user:{quote(c, safe='')}@host/simple"]),
    ),
    "extra_pip_requirements": formed(
        "requirements", lambda c: saved_with(extra_pip_requirements=[f"git+https://x:{quote(c, safe='')}@host/r.git"])
    ),
    "conda_env": telling(
        r"conda_env\.variables\.MY_API_KEY",
        lambda c: saved_with(conda_env={"dependencies": ["python"], "variables": {"MY_API_KEY": c}}),
    ),
    "conda_env: pip": formed(
        "conda_env",
        lambda c: saved_with(
            conda_env={"dependencies": ["python", {"pip": [f"--index-url https://u:{quote(c, safe='')}@host", "dspy"]}]}
        ),
    ),
    "resources": mute_code(
        "MLmodel", lambda c: saved_with(resources=[DatabricksServingEndpoint(endpoint_name=f"e {c}")])
    ),
}  # fmt: skip

PLACES: dict[str, Place] = {
    f"{group}: {name}": place
    for group, places in {
        "language models": LANGUAGE_MODELS,
        "attributes": ATTRIBUTES,
        "prompts": PROMPTS,
        "code": CODE,
        "files": FILES,
        "arguments": ARGUMENTS,
    }.items()
    for name, place in places.items()
}
