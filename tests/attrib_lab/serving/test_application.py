"""The server over real sockets: the pipeline's answers, one sentence for each mistake, and it lives on."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest
from html_reader import Reader
from served import JSON, LABELS, LIMITS, same, serving, tiny_pipeline

from attrib_lab.serving import request_body
from attrib_lab.serving.questions import Attribution, ExplainRequest, Parameters, Result
from benchmarks.serve import client_texts, put_load
from modeling_attrib.handler import PARAMETERS


TEXT = "the striker said stocks & <script>alert(1)</script>"
PAIR = {"text": "the match", "text_pair": "the bank"}


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    return tiny_pipeline(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def served(pipe):
    with serving(pipe) as served:
        yield served


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"top_k": 1},
        {"top_k": 2},
        {"top_k": None, "contrast": LABELS[0]},
        {"target": 1, "contrast": "sports", "method": "lrp", "aggregation": "token"},
    ],
)
@pytest.mark.parametrize("inputs", [TEXT, PAIR, [TEXT], [PAIR, TEXT], []], ids=["text", "pair", "one", "two", "none"])
def test_an_answer_is_the_pipelines_in_its_form(served, pipe, inputs, parameters):
    status, answer = served.explain(inputs, **parameters)
    assert status == 200
    expected = pipe(inputs, **parameters)
    if len(inputs) == 2 and isinstance(inputs, list):  # these were explained together
        same(answer, expected)
    else:
        assert answer == expected


def test_what_json_and_utf_8_cannot_write_comes_back_as_it_was_sent(served, pipe):
    text = 'stocks \ud83d "\x00" \u202e\u2028 the \udfff coach'
    assert served.explain(text) == (200, pipe(text))


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"", 422, "send JSON"),
        (b'{"inputs":', 422, "the body is no JSON: Expecting value."),
        (b'{"inputs": "\xff\xfe"}', 422, "not UTF-8"),
        (b"[" * 3000, 422, "nested too deep"),
        (b'{"inputs": "a", "parameters": {"target": ' + b"9" * 3900 + b"}}", 422, "should be less than 1000000"),
        (b'{"inputs": "a", "parameters": {"target": "%s"}}' % (b"b" * 3000), 422, "at most 500 characters"),
        (b'{"inputs": "a", "parameters": {"%s": 1}}' % (b"b" * 3000), 422, "unknown entry 'bbbb"),
        (b'["a"]', 422, "send JSON"),
        (b"{}", 422, "the body has no 'inputs'."),
        (b'{"inputs": null}', 422, "inputs is a text, a pair"),
        (b'{"inputs": {"text": "a", "pair": "b"}}', 422, "inputs is a text, a pair"),
        (b'{"inputs": ["a", 5]}', 422, "inputs is a text, a pair"),
        (b'{"inputs": [["a"]]}', 422, "inputs is a text, a pair"),
        (b'{"inputs": "a", "parametres": {}}', 422, "unknown entry 'parametres'. Did you mean 'parameters'?"),
        (b'{"inputs": "a", "parameters": {"metod": "lrp"}}', 422, "unknown entry 'metod'. Did you mean 'method'?"),
        (b'{"inputs": "a", "parameters": {"num_workers": 99}}', 422, "unknown entry 'num_workers'."),
        (
            b'{"inputs": "a", "parameters": {"target": [1]}}',
            422,
            "Input should be a valid integer, or",
        ),
        (b'{"inputs": "a", "parameters": {"target": true}}', 422, "parameters.target: "),
        (b'{"inputs": "a", "parameters": {"top_k": 0}}', 422, "greater than or equal to 1"),
        (b'{"inputs": "a", "parameters": {"aggregation": "line"}}', 422, "'word', 'token' or 'sentence'"),
        (b'{"inputs": "a", "parameters": {"method": "lrpp"}}', 422, "unknown attribution method 'lrpp'"),
        (b'{"inputs": "a", "parameters": {"target": "sport"}}', 422, "Did you mean 'sports'?"),
        (b'{"inputs": "a", "parameters": {"target": "\\ud800"}}', 422, "unable to parse raw data as a unicode string"),
        (b'{"inputs": "a", "parameters": {"target": 0, "contrast": 0}}', 422, "is the label explained"),
        (b'{"inputs": ["a", "a", "a", "a", "a", "a"]}', 422, "6 texts in one request: 5 are allowed."),
        (b'{"inputs": ["a", "%s"]}' % (b"b" * 801), 422, "text 1 has 801 characters: 800 are allowed"),
        (b'{"inputs": {"text": "%s", "text_pair": "b"}}' % (b"b" * 800), 422, "text 0 has 801 characters"),
        (b'{"inputs": "%s"}' % (b"b" * 1_000_000), 413, "the request has 1,000,014 bytes: 4,000 are allowed."),
        (b'{"inputs": [%s"a"]}' % (b'"a", ' * 10_000), 413, "bytes: 4,000 are allowed."),
    ],
)
def test_a_mistake_is_one_sentence_and_the_next_is_answered(served, pipe, body, status, sentence):
    found, answer = served.explain_bytes(body, **JSON)
    assert found == status
    assert answer.keys() == {"error"}
    assert sentence in answer["error"]
    assert "\n" not in answer["error"]
    assert len(answer["error"]) < 500
    assert served.explain(TEXT) == (200, pipe(TEXT))


def test_ten_thousand_texts_and_a_text_of_a_megabyte_within_the_usual_limits_of_bytes(pipe):
    with serving(pipe, type(LIMITS)()) as served:
        assert served.explain(["a"] * 10_000) == (422, {"error": "10,000 texts in one request: 128 are allowed."})
        assert served.explain("a" * 999_000)[1]["error"].startswith("text 0 has 999,000 characters: 20,000 are allowed")
        assert served.explain("a" * 2**20)[0] == 413
        assert served.explain(TEXT) == (200, pipe(TEXT))
        assert served.batcher.waiting == 0


def test_other_addresses_methods_and_kinds_of_content(served):
    for path, method, status in (("/explain", "GET", 405), ("/nowhere", "GET", 404), ("/../etc/passwd", "GET", 404)):
        found, kind, content = served.ask(path, None, method)
        assert (found, kind) == (status, "application/json")
        assert json.loads(content).keys() == {"error"}
    status, answer = served.explain_bytes(b'{"inputs": "a"}', **{"Content-Type": "text/plain"})
    assert (status, answer["error"][:9]) == (422, "send JSON")


# Connections that break ---------------------------------------------------------------------------------------------


def send(served, content: bytes, wait: bool = False) -> bytes:
    """Send bytes, and close the connection at once, or after what comes back."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
        connection.sendall(content)
        return connection.recv(4096) if wait else b""


HEAD = b"POST /explain HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def test_requests_that_are_cut_leave_nothing_behind(served, pipe):
    threads = threading.active_count()
    for _ in range(20):
        send(served, HEAD)
        send(served, HEAD + b"Content-Length: 500\r\n\r\n" + b'{"inputs": "the str')
        send(served, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b'5\r\n{"inp\r\n')
        send(served, HEAD + b'Content-Length: 15\r\n\r\n{"inputs": "a"}')  # complete, but nobody waits
    assert b"400" in send(served, b"\x16\x03\x01 no HTTP\r\n\r\n", wait=True)
    chunks = b'e\r\n{"inputs": "a"\r\n1\r\n}\r\n0\r\n\r\n'
    assert b" 200 " in send(served, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks, wait=True)
    endless = b"Transfer-Encoding: chunked\r\n\r\n" + b"3e8\r\n" + b"x" * 1000 + b"\r\n"
    assert b" 413 " in send(served, HEAD + endless + endless[-1007:] * 9 + b"0\r\n\r\n", wait=True)
    assert served.explain(TEXT) == (200, pipe(TEXT))
    assert threading.active_count() == threads


def test_a_request_that_does_not_come_to_its_end_is_told_so(pipe, monkeypatch):
    monkeypatch.setattr(request_body, "BODY_SECONDS", 0.05)
    with serving(pipe) as served:
        assert b" 408 " in send(served, HEAD + b'Content-Length: 500\r\n\r\n{"inputs"', wait=True)


class Slow:
    """A pipeline whose answers wait until they are let go, and which may fail."""

    def __init__(self, pipe) -> None:
        self.pipe, self.preprocess = pipe, pipe.preprocess
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.asked: list[str] = []
        self.error: Exception | None = None

    def __call__(self, texts, **question):
        self.asked += texts
        self.begun.set()
        assert self.go_on.wait(60)
        if self.error:
            raise self.error
        return self.pipe(texts, **question)


def test_texts_of_askers_who_have_gone_are_not_explained(pipe):
    slow = Slow(pipe)
    with serving(slow) as served:
        asker = threading.Thread(target=served.explain, args=("first",))
        asker.start()
        assert slow.begun.wait(60)
        body = json.dumps({"inputs": ["gone", "away"]}).encode()
        with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
            connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            while served.batcher.waiting < 3:
                time.sleep(0.01)
        while served.server.server_state.tasks and len(served.server.server_state.tasks) > 1:
            time.sleep(0.01)  # until the server has seen that it was closed
        slow.go_on.set()
        asker.join(60)
        assert served.explain("last")[0] == 200
    assert slow.asked == ["first", "last"]


def test_a_model_that_fails_says_so_and_the_server_lives(pipe, capsys):
    slow = Slow(pipe)
    slow.go_on.set()
    with serving(slow) as served:
        slow.error = RuntimeError("out of memory\nat a place of no concern")
        assert served.explain("a") == (500, {"error": "the model failed on this text (RuntimeError)."})
        slow.error = None
        slow.pipe = lambda texts, **_: [{"score": float("nan")} for _ in texts]
        assert served.explain("a") == (500, {"error": "the model answered with what is no number."})
        slow.pipe = pipe
        assert served.explain("a") == (200, pipe("a"))
    assert "the model failed: RuntimeError: out of memory\n" in capsys.readouterr().err


@pytest.mark.parametrize("in_time", [True, False])
def test_the_end_answers_what_is_under_way_and_refuses_who_would_wait_for_long(pipe, in_time):
    slow = Slow(pipe)
    with ThreadPoolExecutor() as threads, serving(slow) as served:
        asked = threads.submit(served.explain, TEXT)
        assert slow.begun.wait(60)
        served.server.should_exit = True
        while served.server.servers and served.server.servers[0].is_serving():
            time.sleep(0.01)
        if in_time:
            slow.go_on.set()
        answer = asked.result(60)
        slow.go_on.set()
    assert answer == ((200, pipe(TEXT)) if in_time else (503, {"error": "the server is stopping: ask again later."}))


# Many at once -------------------------------------------------------------------------------------------------------


def test_eight_clients_each_get_the_answers_to_their_own_texts(pipe):
    texts = client_texts(8, 3)
    expected = [[pipe(text) for text in own] for own in texts]
    with serving(pipe) as served:
        load = put_load(served.port, texts, expected, 2.0, None)
    assert load.faults == []
    assert len(load.latencies) >= 8


def test_a_client_that_got_anothers_answer_would_be_seen(pipe):
    texts = client_texts(2, 1)
    expected = [[pipe(text) for text in own] for own in texts]
    with serving(pipe) as served:
        load = put_load(served.port, texts, expected[::-1], 0.2, None)
    assert len(load.faults) >= 2
    assert not load.latencies


# Pages --------------------------------------------------------------------------------------------------------------


class Page(Reader):
    """The form's elements beside those of explanations."""

    VOID = ("meta", "input")


def test_health_names_the_model_and_its_labels(served):
    status, _, content = served.ask("/health", None, "GET")
    told = json.loads(content)
    assert (status, told["status"], told["model"], told["labels"]) == (200, "ok", "tiny", LABELS)


def test_the_schema_says_what_is_taken_and_what_comes(served):
    status, _, content = served.ask("/openapi.json", None, "GET")
    schema = json.loads(content)
    assert status == 200
    assert set(schema["paths"]) == {"/explain", "/health"}
    told = schema["paths"]["/explain"]["post"]
    assert told["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/ExplainRequest")
    assert {"200", "408", "413", "422", "500", "503"} == set(told["responses"])
    assert schema["components"]["schemas"].keys() == {"Attribution", "ExplainRequest", "Parameters", "Result"}
    example = ExplainRequest.model_validate(schema["components"]["schemas"]["ExplainRequest"]["example"])
    assert example.question == {"contrast": "World"}
    assert served.ask("/docs", None, "GET")[0] == 200


@pytest.mark.parametrize("aggregation", ["word", "token"])
def test_the_schema_of_an_answer_names_all_that_is_in_it(pipe, aggregation):
    result = pipe(PAIR, target=0, contrast=1, aggregation=aggregation)
    assert result.keys() == set(Result.model_fields)
    named = set(Attribution.model_fields)
    assert result["attributions"][0].keys() == (named if aggregation == "token" else named - {"token", "special"})


def test_the_server_and_an_endpoint_take_the_same_parameters():
    assert set(PARAMETERS) == set(Parameters.model_fields)


def fill(served, **fields: str) -> tuple[int, Page]:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    status, shown, content = served.ask("/", urlencode(fields).encode(), **kind)
    assert shown == "text/html; charset=utf-8"
    return status, Page(content.decode("utf-8"))


def test_the_form_shows_highlighted_words_and_keeps_what_was_asked(served):
    status, page = fill(served, text=TEXT, target="1", contrast="2", method="lrp", text_pair="")
    assert status == 200
    assert page.unbalanced == []
    assert page.texts("attrib-text") == [TEXT]
    assert page.texts("textarea") == [f"\n{TEXT}", "\n"]  # a browser drops the line end behind the tag
    chosen = [element["attrs"]["value"] for element in page.elements if "selected" in element["attrs"]]
    assert chosen == ["1", "2", "lrp"]
    assert "Why business, not <b>weather</b>" in page.texts("attrib-note")


def test_the_form_takes_a_pair(served):
    status, page = fill(served, text="the match", text_pair="\nthe <bank>")
    assert status == 200
    assert page.texts("attrib-text") == ["the match", "\nthe <bank>"]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"text": "a" * 801}, "text 0 has 801 characters"),
        ({"text": TEXT, "method": "<i>"}, "unknown attribution method '<i>'"),
        ({"text": TEXT, "target": "7"}, "target=7 is not a label"),
        ({"text": TEXT, "target": "one"}, "not what the page's form sends"),
        ({str(number): "x" for number in range(9)}, "not what the page's form sends"),
    ],
)
def test_the_form_says_why_there_is_no_answer(served, fields, sentence):
    status, page = fill(served, **fields)
    assert status == 422
    (said,) = page.texts("refused")
    assert sentence in said


def test_the_form_brings_nothing_from_elsewhere_and_runs_nothing(served):
    status, _, content = served.ask("/", None, "GET")
    page = Page(content.decode("utf-8"))
    assert status == 200
    assert page.unbalanced == page.other == []
    assert not {"script", "link", "img", "iframe"} & {element["tag"] for element in page.elements}
    names = {name for element in page.elements for name in element["attrs"]}
    assert not {"src", "href"} & names
    assert not [name for name in names if name.startswith("on")]
    assert "http" not in content.decode("utf-8")


def test_a_built_page_takes_the_place_of_the_form(pipe, tmp_path):
    (tmp_path / "index.html").write_text("<title>built</title>", encoding="utf-8")
    (tmp_path / "secret").symlink_to("/etc/hostname")
    with serving(pipe, built_page=tmp_path) as served:
        assert served.ask("/", None, "GET")[2] == b"<title>built</title>"
        assert served.explain(TEXT) == (200, pipe(TEXT))
        assert served.ask("/health", None, "GET")[0] == 200
        assert served.ask("/secret", None, "GET")[0] == 404
        assert served.ask("/%2e%2e/%2e%2e/etc/hostname", None, "GET")[0] == 404
