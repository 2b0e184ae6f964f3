"""What an endpoint answers: the pipeline's own results, and a sentence for what is no request."""

import json

import pytest
from pipelines import LABELS, build

from modeling_attrib.handler import EndpointHandler


TEXT = "Stocks rally as oil falls"
PAIR = {"text": TEXT, "text_pair": "Shares rise"}


@pytest.fixture(scope="module")
def pipe(minilm_folder):
    return build(minilm_folder)


@pytest.fixture(scope="module")
def handler(pipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository")
    pipe.model.save_pretrained(folder)
    pipe.tokenizer.save_pretrained(folder)
    handler = EndpointHandler(str(folder))
    for weight in handler.pipeline.model.parameters():  # read from a file, they lie where its header happens to end
        weight.data = weight.data.clone()
    return handler


@pytest.mark.parametrize("inputs", [TEXT, PAIR, [TEXT, PAIR]], ids=["text", "pair", "list"])
@pytest.mark.parametrize(
    "parameters",
    [None, {}, {"top_k": None}, {"target": LABELS[1], "contrast": 0, "method": "lrp", "aggregation": "token"}],
)
def test_an_endpoint_answers_as_the_pipeline(handler, pipe, inputs, parameters):
    request = {"inputs": inputs} | ({} if parameters is None else {"parameters": parameters})
    sent = json.dumps(request)
    answer = handler(request)
    assert json.dumps(request) == sent
    assert json.loads(json.dumps(answer)) == pipe(inputs, **(parameters or {}))


@pytest.mark.parametrize(
    ("request_body", "message"),
    [
        ({}, "a request is written"),
        (TEXT, "a request is written"),
        ({"inputs": TEXT, "parameters": {"num_workers": 9}}, "unknown parameter 'num_workers': there are target, "),
        ({"inputs": TEXT, "parameters": {"target": "Wrold"}}, "Did you mean 'World'?"),
        ({"inputs": 5}, "expected a text, got int"),
    ],
)
def test_what_is_no_request_is_refused_in_a_sentence(handler, request_body, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        handler(request_body)
