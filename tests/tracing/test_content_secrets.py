"""No secret is in what is stored, whatever its form and wherever it stands."""

import collections
import dataclasses
import json
import os
import re
from urllib.parse import quote

import dspy
import pydantic
import pytest

from mlflow_dspy_plugin.errors import SettingError
from mlflow_dspy_plugin.tracing.content import Content
from tests.tracing.logs import warnings_logged


@pytest.fixture(autouse=True)
def tracing():
    """Nothing here needs autologging."""


@pytest.fixture(autouse=True)
def store():
    """Nothing here needs a tracking store."""


CANARY = "canary-7f3-of-my-company"


class Account(pydantic.BaseModel):
    api_key: str
    owner: str = "o"


@dataclasses.dataclass
class Connection:
    password: str


class Shown:
    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return self.text


# A secret under a name that says so, whatever its form.
PLACES = {
    "argument": lambda secret: {"api_key": secret},
    "deep": lambda secret: {"a": [{"b": ({"client_secret": secret},)}]},
    "list of keys": lambda secret: {"api_keys": [secret, secret]},
    "headers": lambda secret: {"extra_headers": {"X-Gateway": secret, "Accept": "json"}},
    "headers as pairs": lambda secret: {"headers": [("X-Gateway", secret)]},
    "text class as a name": lambda secret: {type("Name", (str,), {})("api_key"): secret},
    "bytes as a name": lambda secret: {b"api_key": secret},
    "ordered dict": lambda secret: collections.OrderedDict(password=secret),
    "user dict": lambda secret: collections.UserDict(password=secret),
    "example": lambda secret: dspy.Example(api_key=secret),
    "prediction": lambda secret: [dspy.Prediction(api_key=secret)],
    "pydantic": lambda secret: Account(api_key=secret),
    "dataclass": lambda secret: Connection(secret),
    "in JSON in a text": lambda secret: {"arguments": json.dumps({"api_key": secret, "n": 1})},
    "in JSON in JSON": lambda secret: [json.dumps({"body": json.dumps({"x": {"password": secret}})})],
    "in JSON thrice": lambda secret: json.dumps({"a": json.dumps({"b": json.dumps({"password": secret})})}),
    "in a repr": lambda secret: f"LM(model='m', api_key={secret!r})",
    "in an object's repr": lambda secret: [Shown(f"Client(password={secret!r}, n=1)")],
    "in a repr of a dict": lambda secret: str({"Authorization": f"Token {secret}"}),
    "in a shell": lambda secret: f"OPENAI_API_KEY={secret} python run.py",
    "in a long text": lambda secret: "a word " * 5000 + f'"api_key": "{secret}"' + " a word" * 5000,
    "in a text beside a long one": lambda secret: ["a word " * 5000, {"api_key": secret}],
}
# A secret that its form tells, under no name.
FORMS = {
    "openai": "sk-proj-abcdefghijklmnop0123",
    "aws": "AKIAIOSFODNN7EXAMPLE",
    "github": "ghp_" + "c" * 36,
    "jwt": "eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.SflKxwRJSMeKKF2QT4",
    "bearer": "Bearer abcdefghijkl0123",
    "url user": "https://user:hunter2secret@host/v1",
    "url parameter": "https://host/v1?api-key=0123456789",
    "known": CANARY,
}
SPOTS = {
    "alone": lambda text: text,
    "in a sentence": lambda text: f"it is '{text}', you see",
    "after a line break": lambda text: f"key:\n{text}\nend",
    "in a list": lambda text: [["a", text]],
    "as a name": lambda text: {text: 1},
    "in JSON": lambda text: json.dumps({"a": [text]}),
    "in JSON in JSON": lambda text: json.dumps([json.dumps([text])]),
    "in an object": lambda text: [Shown(text)],
    "in bytes": lambda text: text.encode(),
    "in a set": lambda text: {text},
    "in an exception": lambda text: ValueError(text),
    "in a message": lambda text: [{"role": "user", "content": [{"type": "text", "text": text}]}],
    "in a long text": lambda text: "a word " * 5000 + text + " a word" * 5000,
    "in a text class": lambda text: type("Mine", (str,), {})(text),
    "in other letters": lambda text: f"日本 {text} 語",
}


@pytest.fixture(params=["inline", "attached"])
def dump(request):
    """Dumps a value in a trace; gives all that is stored of it."""

    def run(*values, trace=None):
        attached = []

        def attach(content_type, data):
            attached.append(data.decode("utf-8", "replace"))
            return f"mlflow-attachment://{len(attached)}"

        trace = trace or Content().of_trace()
        texts = [trace.dump(value, attach if request.param == "attached" else None) for value in values]
        return "\n".join(texts + attached)

    return run


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_what_stands_under_a_secret_name_is_not_stored(place, dump):
    stored = dump(place(CANARY))
    assert CANARY not in stored
    assert "[REDACTED]" in stored


@pytest.mark.parametrize("spot", SPOTS.values(), ids=SPOTS)
@pytest.mark.parametrize("form", FORMS)
def test_what_looks_like_a_secret_or_is_known_to_be_one_is_not_stored(form, spot, dump):
    secret = FORMS[form]
    trace = Content().of_trace()
    trace.learn({"api_key": CANARY})
    stored = dump(spot(secret), trace=trace)
    telling = {"url user": "hunter2secret", "url parameter": "0123456789", "bearer": "abcdefghijkl0123"}.get(
        form, secret
    )
    assert telling not in stored


ECHOES = {
    "as it is": str,
    "with a scheme": lambda secret: f"Bearer {secret}",
    "in an error": lambda secret: f"Incorrect API key provided: {secret}. You can find your key at https://a.b/c.",
    "in a URL": lambda secret: f"https://host/?q={quote(secret, safe='')}",
    "in JSON": lambda secret: json.dumps({"error": {"message": secret}}),
}


@pytest.mark.parametrize("secret", [CANARY, 'a"quoted\\canary/7f3é'], ids=["plain", "quoted"])
@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
@pytest.mark.parametrize("place", ["argument", "deep", "list of keys", "headers", "example", "pydantic"])
def test_a_key_that_was_seen_under_its_name_is_not_stored_where_it_is_echoed(place, echo, secret, dump):
    trace = Content().of_trace()
    trace.dump(PLACES[place](secret))
    stored = dump({"error": echo(secret)}, trace=trace) + trace.text(echo(secret))
    for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1], json.dumps(json.dumps(secret))[3:-3]):
        assert form not in stored


def test_a_key_after_its_scheme_is_known_without_it():
    trace = Content().of_trace()
    trace.dump({"headers": {"Authorization": f"Token {CANARY}"}})
    assert trace.text(f"no such key: {CANARY}") == "no such key: [REDACTED]"


def test_a_key_of_the_environment_is_known_also_if_it_was_set_later(monkeypatch):
    content = Content()
    assert CANARY in content.of_trace().dump(f"it is {CANARY}")
    monkeypatch.setenv("MY_GATEWAY_API_KEY", CANARY)
    assert json.loads(content.of_trace().dump(f"it is {CANARY}")) == "it is [REDACTED]"
    assert os.environ["MY_GATEWAY_API_KEY"] == CANARY


def test_a_key_is_known_to_its_own_trace_only():
    content = Content()
    content.of_trace().dump({"api_key": CANARY})
    assert CANARY in content.of_trace().dump(CANARY)


@pytest.mark.parametrize("value", ["Paris", "{api_key}", "$MY_API_KEY_1", None, "short1"])
def test_words_and_placeholders_under_a_secret_name_are_not_taken_for_keys(value):
    trace = Content().of_trace()
    trace.dump({"token": value})
    assert json.loads(trace.dump(f"it is {value}")) == f"it is {value}"


def test_names_that_only_resemble_secret_ones_keep_their_values():
    value = {"max_tokens": 5, "token_count": [1], "author": "a", "headers": {"Accept": "json"}, "api_key": None}
    assert json.loads(Content().of_trace().dump(value)) == value


# -- the user's own ---------------------------------------------------------------------------


SSN = "078-05-1120"
RULES = {
    "a regular expression": r"\d{3}-\d\d-\d{4}",
    "a pattern": re.compile(r"\d{3}-\d\d-\d{4}"),
    "a function": lambda text: text.replace(SSN, "[REDACTED]"),
    "a list": [r"never", lambda text: text, re.compile(r"\d{3}-\d\d-\d{4}")],
}


@pytest.mark.parametrize("spot", SPOTS.values(), ids=SPOTS)
@pytest.mark.parametrize("redact", RULES.values(), ids=RULES)
def test_what_the_user_s_rules_find_is_not_stored(redact, spot, dump):
    stored = dump(spot(SSN), trace=Content(redact=redact).of_trace())
    assert SSN not in stored
    assert "[REDACTED]" in stored


@pytest.mark.parametrize("redact", RULES.values(), ids=RULES)
def test_the_user_s_rules_hold_for_bare_texts(redact):
    assert Content(redact=redact).of_trace().text(f"no: {SSN}") == "no: [REDACTED]"


def test_a_rule_is_given_texts_in_which_keys_are_out_of_sight_already():
    seen = []
    Content(redact=lambda text: seen.append(text) or text).of_trace().dump({"a": [f"{FORMS['openai']} x"]})
    assert seen == ["a", "[REDACTED] x"]


class Failing:
    def __init__(self, answer):
        self.answer = answer

    def __call__(self, text):
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("answer", [ValueError("v"), SystemExit(1), None, b"bytes"], ids=repr)
def test_a_text_is_withheld_where_a_rule_fails(answer, dump):
    trace = Content(redact=Failing(answer)).of_trace()
    with warnings_logged() as log:
        stored = dump({"a": SSN, "b": [SSN], "n": 1}, trace=trace)
        assert trace.text(SSN) == "[REDACTION FAILED]"
    assert json.loads(stored) == dict.fromkeys("an", "[REDACTION FAILED]") | {"b": ["[REDACTION FAILED]"]}
    reason = type(answer).__name__ if isinstance(answer, BaseException) else "TypeError"
    assert log == [
        f"mlflow_dspy_plugin: A function given as redact raised {reason}; the text is left out of the trace."
    ]


WRONG = {
    "no expression": ("(", r"redact got '\(', which is no regular expression: .* use re.escape\(\)"),
    "bytes": (re.compile(b"a"), "which is a pattern of bytes. Give a pattern of text"),
    "an empty one": ("a*", "is found between any two characters too"),
    "a number": (5, "redact got 5, which cannot be applied to a text. Give a regular expression"),
    "a class": (str, "which cannot be applied to a text"),
    "in a list": (["a", None], "redact got None, which cannot be applied to a text"),
    "a dict": ({"a": "b"}, "which cannot be applied to a text"),
}


@pytest.mark.parametrize(("redact", "message"), WRONG.values(), ids=WRONG)
def test_a_rule_that_cannot_be_one_is_refused_at_once(redact, message):
    with pytest.raises(SettingError, match=message) as raised:
        Content(redact=redact)
    assert raised.value.error_code == "INVALID_PARAMETER_VALUE"


def test_a_secret_name_without_a_value_does_not_make_the_name_known_as_harmless():
    content = Content()
    assert json.loads(content.of_trace().dump({"client_secret_key": None})) == {"client_secret_key": None}
    assert json.loads(content.of_trace().dump({"client_secret_key": CANARY})) == {"client_secret_key": "[REDACTED]"}
