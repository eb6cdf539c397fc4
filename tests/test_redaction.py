"""Every kind of secret that the tables of `redaction.py` know has its example here, and its near miss."""

import base64
import json
import random
from urllib.parse import quote

import numpy as np
import pytest

from mlflow_dspy_plugin import redaction
from mlflow_dspy_plugin.redaction import (
    REDACTED,
    environment_secrets,
    is_distinctive,
    is_placeholder,
    is_secret_name,
    is_written_in,
    may_hold_secret,
    redact_assignments,
    redact_bytes,
    redact_named,
    redact_text,
    secret_texts,
)


@pytest.fixture(autouse=True)
def store():
    """Nothing here needs a tracking store."""


SECRET_NAMES = [
    *("api_key", "apiKey", "apikey", "api-key", "X-Api-Key", "OPENAI_API_KEY", "api_keys", "APIKey"),
    *("aws_access_key_id", "aws_secret_access_key", "aws_session_token", "AWS_SECRET_ACCESS_KEY"),
    *(
        "AccountKey",
        "account_key",
        "storage_key",
        "shared_key",
        "subscription-key",
        "Ocp-Apim-Subscription-Key",
    ),
    *("private_key", "signing_key", "encryption_key", "master_key", "admin_key", "auth_key", "X-Auth-Key"),
    *("openai_key", "AZURE_KEY", "azure_ad_token", "token", "bot_token", "accessToken", "GITHUB_TOKEN"),
    *("secret", "client_secret", "secrets", "password", "db_passwords", "DB_PASSWORD", "passwd", "pwd"),
    *("passphrase", "credential", "vertex_credentials", "Authorization", "Proxy-Authorization"),
    *("bearer", "Cookie", "Set-Cookie", "cookies", "jwt", "auth", "Helicone-Auth", "basic_auth"),
    *("connection_string", "connectionString", "conn_str"),
]
PLAIN_NAMES = [
    *(
        "max_tokens",
        "max_completion_tokens",
        "tokens",
        "num_tokens",
        "token_count",
        "tokenizer",
        "stop_tokens",
    ),
    *("eos_token", "pad_token", "special_token", "start_token", "end_token", "mask_token"),
    *("api_key_env", "api_key_name", "token_file", "credentials_path", "password_field", "token_column"),
    *("key", "sort_key", "primary_key", "keys", "keyword", "monkey", "author", "authors", "auth_type"),
    *(
        "secretary",
        "secretion",
        "passwordless",
        "model",
        "api_base",
        "api_version",
        "temperature",
        "",
        "_",
        "42",
    ),
]


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_name_that_speaks_of_a_secret_is_secret(name):
    assert is_secret_name(name)


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_a_name_that_only_resembles_a_secret_one_is_not(name):
    assert not is_secret_name(name)


PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIBOgIBAAJBAKj34GkxFhD9\n-----END RSA PRIVATE KEY-----"
SECRET_TEXTS = [
    "sk-proj-abcdefghijklmnop0123",
    "sk-ant-api03-abcdefghijklmnop",
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    "AIza" + "b" * 35,
    "ghp_" + "c" * 36,
    "xoxb-1234567890-abc",
    "hf_" + "d" * 34,
    "dapi" + "0123456789abcdef" * 2,
    "eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.SflKxwRJSMeKKF2QT4",
    "Bearer abcdefghijkl0123",
    *(prefix + "Ab0cd1Ef2gh3Ij4kl5" for prefix in ("gsk_", "xai-", "pplx-", "nvapi-", "r8_", "csk-", "fw_", "tgp_v1_")),
    *(prefix + "Ab0cd1Ef2gh3Ij4kl5" for prefix in ("glpat-", "github_pat_", "sk_live_", "rk_test_", "ya29.")),
    "Basic dXNlcjpwYXNzd29yZDE=",
    PEM,
]


@pytest.mark.parametrize("secret", SECRET_TEXTS)
def test_a_text_of_a_secret_s_form_is_taken_out_of_what_surrounds_it(secret):
    assert redact_text(f"it is '{secret}' here") == f"it is '{REDACTED}' here"
    assert list(secret_texts(f"it is '{secret}' here")) == [secret]


URLS = [
    ("http://user:pw@host/v1", "http://host/v1"),
    ("redis://:pw@host:6379/0", "redis://host:6379/0"),
    ("postgresql://user:p@ss:word@host/db", "postgresql://host/db"),
    ('{"url": "https://user:pw@host"}', '{"url": "https://host"}'),
    ("https://host/v1?api-key=0123456789&x=1", f"https://host/v1?{REDACTED}&x=1"),
    ("https://host/v1?x=1&access_token=0123456789", f"https://host/v1?x=1&{REDACTED}"),
    ("https://fn/api?code=Ab0cd1Ef2gh3", f"https://fn/api?{REDACTED}"),
    ("https://maps/v1?key=Ab0cd1Ef2gh3&q=a", f"https://maps/v1?{REDACTED}&q=a"),
    ("https://host/v1?subscription-key=0123456789&v=1", f"https://host/v1?{REDACTED}&v=1"),
    ("https://s3/b?X-Amz-Signature=0123456789", f"https://s3/b?{REDACTED}"),
    ("Server=h;Uid=u;Pwd=0123456789;", f"Server=h;Uid=u;{REDACTED};"),
    ("Endpoint=sb://h/;SharedAccessKey=0123456789", f"Endpoint=sb://h/;{REDACTED}"),
    ("https://blob/c?sv=1&sig=abc%2Fdef%3D#top", f"https://blob/c?sv=1&{REDACTED}#top"),
]


@pytest.mark.parametrize(("url", "left"), URLS)
def test_a_url_loses_its_user_and_its_secret_parameters(url, left):
    assert redact_text(url) == left
    assert list(secret_texts(url))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a task-oriented risk-averse answer",
        "sk-short",
        "Bearer of bad news",
        "the bearer certificates",
        "basic requirements and Basic understanding",
        "fw_update_configuration_file and xai-explainability-methods",
        "https://shop/list?code=electronics&key=alphabetical",
        "the bearer: someone@example.com",
        "http://host:8000/v1",
        "http://host:8000/~me@home",
        "see https://a.example: write to me@example.com",
        "https://host/search?q=token&sign=on",
        "ratio 3:4@5",
        "https://user:${PASSWORD}@host and https://$USER:$TOKEN@host",
        "postgresql://{user}:{settings.password}@host and redis://:%(password)s@host and http://u:%s@h",
        "https://user:<password>@host/v1?api_key={api_key}&token=$MY_TOKEN_1",
        "connect(user=u, password=get_password())",
    ],
)
def test_a_text_without_a_secret_stays_as_it_is(text):
    assert redact_text(text) == text
    assert not list(secret_texts(text))


EXAMPLES = [*SECRET_TEXTS, *(url for url, _ in URLS)]


def forms_find(text):
    """Whether a form finds a secret where nothing tells beforehand that there is none."""
    return any(form.search(text) for form in (redaction._WORD_FORM, *(form for _, _, form in redaction._PHRASE_FORMS)))


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize(
    "around", ["{}", "a {}", "\n{}\n", "é{} ü", "({})", '{{"a": "{}"}}', "\ud83d {}", "日本 {} 語"]
)
def test_no_quick_look_misses_a_secret(example, around):
    text = around.format(example)
    if forms_find(text):
        assert may_hold_secret(text)
        assert not forms_find(redact_text(text))


def test_no_quick_look_misses_what_the_forms_find_in_any_text():
    """Texts made of pieces of secrets, glued together by chance; the same ones each time."""
    chance = random.Random(4)
    pieces = [*EXAMPLES, *"- _ . = & ? ; : @ / é ٣ 7 a Z".split(), " ", "\n", '"', "word", "0123456789abcdef", "A" * 16]
    found = 0
    for _ in range(4000):
        parts = [chance.choice(pieces) for _ in range(chance.randint(1, 5))]
        text = "".join(part[: chance.randint(1, len(part))] if chance.random() < 0.3 else part for part in parts)
        if forms_find(text):
            found += 1
            assert may_hold_secret(text), text
            assert redact_text(text) != text, text
    assert found > 1000


@pytest.mark.parametrize("text", ["", "a", "What kind of bear is best?", "日本語", "see (a), [[ ## answer ## ]]: 1"])
def test_a_text_without_signs_needs_no_second_look(text):
    assert not may_hold_secret(text)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('{"api_key": "abc"}', '{"api_key": "[REDACTED]"}'),
        (r"{\"api_key\": \"abc\", \"n\": 1}", r"{\"api_key\": \"[REDACTED]\", \"n\": 1}"),
        (r'{"password": "a\"b"}', '{"password": "[REDACTED]"}'),
        ("LM(model='m', api_key='my-key', n=1)", "LM(model='m', api_key='[REDACTED]', n=1)"),
        ("{'Authorization': 'Token abc', 'x': 'y'}", "{'Authorization': '[REDACTED]', 'x': 'y'}"),
        ("export MY_API_KEY=abc12345 && run", "export MY_API_KEY=[REDACTED] && run"),
        ("token = 'abc12345'", "token = '[REDACTED]'"),
        ('client_secret="a", password="b"', 'client_secret="[REDACTED]", password="[REDACTED]"'),
    ],
)
def test_a_value_that_a_text_gives_to_a_secret_name_is_put_out_of_sight(text, left):
    assert redact_assignments(f"it: {text}!") == f"it: {left}!"
    assert may_hold_secret(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"token": "Paris", "label": "LOC"}',
        '{"max_tokens": "100", "key": "abc12345"}',
        "api_key='{api_key}' and password=$PASSWORD1",
        "password: must contain a digit",
        "password=get_password()",
        "the key is: 'abc12345'",
    ],
)
def test_a_value_that_a_text_gives_to_another_name_stays(text):
    assert redact_assignments(text) == text


@pytest.mark.parametrize("text", ["sk-" * 50_000, "-----BEGIN PRIVATE KEY-----" * 500, "a" * 200_000, 'key="' * 20_000])
def test_no_text_makes_the_search_slow(text):
    """Where the time grew with the square of the length, this would take minutes."""
    assert redact_assignments(redact_text(text)) is not None


def test_redact_named_hides_values_by_name_at_every_depth_and_copies_nothing_else():
    inner = ["kept"]
    values = {"api_key": "a", "kwargs": {"headers": {"Authorization": "b"}, "max_tokens": 5}, "token": None}
    redacted = redact_named({**values, "list": inner, 7: "number"})
    assert redacted == {
        "api_key": REDACTED,
        "kwargs": {"headers": {"Authorization": REDACTED}, "max_tokens": 5},
        "token": None,
        "list": ["kept"],
        7: "number",
    }
    assert redacted["list"] is inner
    assert values["kwargs"]["headers"] == {"Authorization": "b"}


def test_environment_secrets_are_the_distinctive_values_of_secret_variables(monkeypatch):
    for name in list(environment_secrets()):
        monkeypatch.delenv(name)
    monkeypatch.setenv("MY_API_KEY", "abc12345")
    monkeypatch.setenv("MY_PASSWORD", "secret")
    monkeypatch.setenv("MY_TOKEN_FILE", "/run/secrets/token-0")
    monkeypatch.setenv("MY_REGION", "eu-central-1")
    monkeypatch.setenv("PWD", "/home/someone/project1")
    assert environment_secrets() == {"MY_API_KEY": "abc12345"}


@pytest.mark.parametrize(
    ("text", "distinctive"),
    [("abc1234", False), ("abc12345", True), ("12345678", False), ("password", False), ("a" * 20, True)],
)
def test_a_secret_is_distinctive_when_it_is_long_or_mixed(text, distinctive):
    assert is_distinctive(text) is distinctive


@pytest.mark.parametrize(
    "secret", ["pass'w\"ö\\rd-%1", '4c0ffee7f3a4c0ffee5c/+="é'], ids=["short parts", "a long part"]
)
@pytest.mark.parametrize(
    "written",
    [
        *(str, repr, ascii, json.dumps, quote, lambda text: json.dumps(text, ensure_ascii=False)),
        lambda text: f"'{text.replace(chr(39), chr(39) * 2)}'",
        *(lambda text, n=n: base64.b64encode(b"x" * n + text.encode() + b"xyz").decode() for n in range(3)),
        lambda text: base64.b64encode(text.encode("utf-16-le")).decode(),
        lambda text: base64.b64encode(np.array([text]).tobytes()).decode(),
    ],
)
def test_a_secret_is_found_however_a_file_writes_it(secret, written):
    assert is_written_in(f"before {written(secret)} after".encode(), secret)
    assert not is_written_in(f"before {written(secret[::-1])} after".encode(), secret)


def test_a_secret_is_found_in_wide_characters_and_over_several_lines():
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le"):
        assert is_written_in("it is pass-w0rd".encode(encoding), "pass-w0rd")
    assert is_written_in(b"a: |\n  pass-w0rd-2\n", "----\npass-w0rd-2\n----")


def test_bytes_are_redacted_where_they_are_a_text():
    assert redact_bytes(b"it is sk-proj-abcdefghijklmnop0123") == b"it is [REDACTED]"
    assert redact_bytes(b"\xff sk-proj-abcdefghijklmnop0123") == b"\xff sk-proj-abcdefghijklmnop0123"


@pytest.mark.parametrize(
    ("text", "placeholder"),
    [("${TOKEN}", True), ("$TOKEN", True), ("{a}{b}", True), ("<your key>", True), ("%(key)s", True), ("a{b}", False)],
)
def test_a_placeholder_stands_for_a_value_that_is_filled_in_later(text, placeholder):
    assert is_placeholder(text) is placeholder
