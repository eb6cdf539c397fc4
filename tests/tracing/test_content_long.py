"""Nothing huge is stored twice: long texts, images and files of a trace are written once and referred to."""

import base64
import json
import threading

import dspy
import pytest

from mlflow_dspy_plugin.tracing.content import Content


@pytest.fixture(autouse=True)
def tracing():
    """Nothing here needs autologging."""


@pytest.fixture(autouse=True)
def store():
    """Nothing here needs a tracking store."""


class Attachments(list):
    """What was stored beside a trace."""

    def __call__(self, content_type, data):
        self.append((content_type, data))
        return f"mlflow-attachment://{len(self)}"


@pytest.fixture
def attach():
    return Attachments()


@pytest.fixture
def trace():
    return Content().of_trace()


DOCUMENT = "".join(f'Line {n} says "{n * n}" of 日本.\n' for n in range(3000)).strip()
SIZE = f"{len(DOCUMENT):,} characters"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20
PNG_URI = "data:image/png;base64," + base64.b64encode(PNG).decode()


def test_a_long_text_is_attached_once_and_shown_by_its_beginning(trace, attach):
    first = json.loads(trace.dump({"document": DOCUMENT}, attach))
    second = json.loads(trace.dump(["x", DOCUMENT + ""], attach))
    shown = f"{DOCUMENT[:1000]}... [{SIZE}: mlflow-attachment://1]"
    assert first == {"document": shown}
    assert second == ["x", shown]
    assert attach == [("text/plain", DOCUMENT.encode())]


def test_where_nothing_can_be_attached_a_long_text_is_written_out_once(trace):
    assert json.loads(trace.dump({"document": DOCUMENT})) == {"document": DOCUMENT}
    referred = f"{DOCUMENT[:1000]}... [{SIZE}, written out where this trace holds them first]"
    assert json.loads(trace.dump({"document": DOCUMENT})) == {"document": referred}


# How a document stands in a prompt.
WRITTEN = {
    "as it is": lambda text: text,
    "stripped": lambda text: text.strip(),
    "in JSON": lambda text: json.dumps([text, "b"], ensure_ascii=False),
    "in ASCII JSON": lambda text: json.dumps([text, "b"]),
    "in JSON in JSON": lambda text: json.dumps({"a": json.dumps([text], ensure_ascii=False)}, ensure_ascii=False),
    "indented": lambda text: "[1] «««\n    " + text.replace("\n", "\n    ") + "\n»»»",
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize("attached", [True, False])
def test_a_long_text_inside_of_a_prompt_is_referred_to(written, attached, trace, attach):
    document = f"\n{DOCUMENT}\n"
    trace.dump({"document": document}, attach if attached else None)
    prompt = f"[[ ## document ## ]]\n{written(document)}\n\n[[ ## question ## ]]\nWhich {written('line')}?"
    messages = [{"role": "user", "content": prompt}]
    [message] = json.loads(trace.dump(messages, attach if attached else None))
    assert message["role"] == "user"
    assert message["content"].startswith("[[ ## document ## ]]\n")
    assert message["content"].endswith(f"\n\n[[ ## question ## ]]\nWhich {written('line')}?")
    assert len(message["content"]) < 400
    assert f"[{len(document):,} characters" in message["content"]
    assert len(attach) == attached


def test_every_copy_of_a_long_text_in_a_prompt_is_referred_to(trace, attach):
    trace.dump(DOCUMENT, attach)
    other = DOCUMENT.replace("Line", "Row")
    trace.dump(other, attach)
    found = json.loads(trace.dump(f"a {DOCUMENT} b {other} c {DOCUMENT} d", attach))
    one, two = (f"[{len(text):,} characters: mlflow-attachment://{n}]" for n, text in [(1, DOCUMENT), (2, other)])
    assert found == f"a {one} b {two} c {one} d"


def test_a_text_that_only_begins_like_a_known_one_is_a_text_of_its_own(trace, attach):
    trace.dump(DOCUMENT, attach)
    trace.dump(DOCUMENT[:-1] + "!", attach)
    assert [data[-1:] for _, data in attach] == [b".", b"!"]


def test_a_program_with_a_long_input_makes_a_trace_of_about_its_size(trace):
    """MLflow's own encoder writes it in every span."""
    document = DOCUMENT * 20
    prompt = [{"role": "user", "content": f"[[ ## document ## ]]\n{document}\n\nRespond."}]
    spans = [{"document": document}, {"document": document, "k": 1}, prompt, {"messages": prompt}, [document]]
    assert len(document) < sum(len(trace.dump(value)) for value in spans) < 1.1 * len(document)


def test_a_secret_in_a_long_text_is_in_no_attachment(trace, attach):
    trace.learn({"api_key": "my-company-key-7f3"})
    secrets = ["sk-proj-abcdefghijklmnop0123", "my-company-key-7f3", "hunter2hunter"]
    text = f"{DOCUMENT} {secrets[0]} {secrets[1]} password='{secrets[2]}'"
    stored = trace.dump(text, attach) + attach[0][1].decode()
    assert not [secret for secret in secrets if secret in stored]
    assert stored.count("[REDACTED]") == 3


def test_the_user_s_rules_hold_for_what_surrounds_a_reference_and_leave_it_alone(attach):
    trace = Content(redact=[r"\d+", str.upper]).of_trace()
    trace.dump(DOCUMENT, attach)
    found = json.loads(trace.dump(f"page 5: {DOCUMENT} of 7", attach))
    assert found == f"PAGE [REDACTED]: [{SIZE}: mlflow-attachment://1] OF [REDACTED]"
    assert "LINE [REDACTED] SAYS" in attach[0][1].decode()


IMAGE = {"type": "image_url", "image_url": {"url": PNG_URI}}
MEDIA = {
    "chat part": (IMAGE, PNG_URI, "image/png", PNG),
    "dspy.Image": (dspy.Image(url=PNG_URI), PNG_URI, "image/png", PNG),
    "audio part": (
        {"type": "input_audio", "input_audio": {"data": base64.b64encode(PNG).decode(), "format": "wav"}},
        base64.b64encode(PNG).decode(),
        "audio/wav",
        PNG,
    ),
    "dspy.Audio": (
        dspy.Audio(data=base64.b64encode(PNG).decode(), audio_format="mp3"),
        base64.b64encode(PNG).decode(),
        "audio/mp3",
        PNG,
    ),
    "anthropic part": (
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/jpeg", "data": base64.b64encode(PNG).decode()},
        },
        base64.b64encode(PNG).decode(),
        "image/jpeg",
        PNG,
    ),
    "file part": (
        {"type": "file", "file": {"file_data": PNG_URI.replace("image/png", "application/pdf"), "filename": "a.pdf"}},
        PNG_URI.replace("image/png", "application/pdf"),
        "application/pdf",
        PNG,
    ),
}


@pytest.mark.parametrize(("value", "data", "content_type", "content"), MEDIA.values(), ids=MEDIA)
def test_a_file_is_attached_once_and_its_part_keeps_its_form(value, data, content_type, content, trace, attach):
    plain = Content(redact=None).of_trace()
    expected = plain.dump([value]).replace(data, "mlflow-attachment://1")
    assert "mlflow-attachment://1" in expected
    assert trace.dump([value], attach) == expected
    assert trace.dump([value], attach) == expected
    assert attach == [(content_type, content)]


def test_an_image_inside_of_a_text_is_attached(trace, attach):
    """As DSPy writes it into prompts before it makes parts of them."""
    text = f"see <<CUSTOM-TYPE-START-IDENTIFIER>>{json.dumps([IMAGE])}<<CUSTOM-TYPE-END-IDENTIFIER>>"
    trace.dump(IMAGE, attach)
    assert json.loads(trace.dump(text, attach)) == text.replace(PNG_URI, "mlflow-attachment://1")
    assert len(attach) == 1


def test_where_nothing_can_be_attached_an_image_is_written_out_once(trace):
    assert json.loads(trace.dump(IMAGE)) == IMAGE
    again = json.loads(trace.dump([IMAGE, f"see {PNG_URI}"]))
    reference = "[image/png, 5,130 bytes, written out where this trace holds them first]"
    assert again == [{"type": "image_url", "image_url": {"url": reference}}, f"see {reference}"]


def test_a_small_image_stays_where_it_is(trace, attach):
    small = {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lGODlhAQABAAAAACw="}}
    assert json.loads(trace.dump(small, attach)) == small
    assert attach == []


def test_long_bytes_are_attached_as_what_they_begin_like(trace, attach):
    values = [PNG, bytearray(PNG), b"%PDF-" + b"a" * 2000, b"\0" * 2000]
    references = [f"mlflow-attachment://{n}" for n in (1, 1, 2, 3)]
    assert json.loads(trace.dump(values, attach)) == references
    assert [content_type for content_type, _ in attach] == ["image/png", "application/pdf", "application/octet-stream"]
    assert json.loads(Content().of_trace().dump(PNG)).startswith("[image/png, 5,128 bytes that begin with b'\\x89PNG")


def test_a_long_text_that_only_looks_like_a_file_is_a_text(trace, attach):
    assert json.loads(trace.dump({"data": "a b c " * 500}, attach)) == {"data": "a b c " * 500}
    assert json.loads(trace.dump({"data": "ab!" * 500}, attach)) == {"data": "ab!" * 500}
    assert attach == []


def test_a_value_over_the_limit_is_cut_and_says_how_long_it_was(trace, attach):
    shown = json.loads(trace.dump({"a": "b" * 30_000_000, "c": "d" * 100}, attach))
    assert shown["a"].endswith("... [cut: 30,000,000 characters in all]")
    assert shown["c"] == "... [cut: 100 characters in all]"
    assert [len(data) for _, data in attach] == [20_000_000]


def test_many_texts_over_the_limit_are_cut(trace):
    text = trace.dump([f"{n} " + "b" * 15_000 for n in range(2000)])
    assert 20_000_000 < len(text) < 20_300_000


def test_an_attachment_that_cannot_be_stored_costs_a_placeholder(trace):
    def attach(content_type, data):
        raise OSError("full")

    assert json.loads(trace.dump({"a": DOCUMENT}, attach)) == "<Unreadable: OSError>"


def test_threads_of_one_trace_store_a_text_once(trace, attach):
    start = threading.Barrier(8)
    results = []

    def run():
        start.wait()
        results.append(trace.dump(["".join([DOCUMENT, " end"])], attach))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(attach) == 1
    assert len(results) == 8
    assert len(set(results)) == 1


def test_traces_do_not_refer_to_each_other(attach):
    content = Content()
    for _ in range(2):
        content.of_trace().dump(DOCUMENT, attach)
    assert len(attach) == 2
