"""The probe: each different question once, small batches, and answers that do not depend on the company."""

import numpy as np
import pytest
import torch
from linear_model import LinearClassifier, word_tokenizer
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5Config,
)

from attrib_lab.evaluation import perturbation_runner
from attrib_lab.evaluation.perturbation_runner import (
    Measured,
    NotMeasurable,
    PerturbationRunner,
    PerturbedText,
    classifier_logits,
)
from attrib_lab.terminal.errors import UserError
from modeling_attrib import AttribConfig, AttribForSequenceClassification


TOKENIZER = word_tokenizer()
SIZE = {"vocab_size": 11, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}


class SumOfIds:
    """Logits (Σ ids, number of ids), and a record of the batches asked for."""

    def __init__(self):
        self.batches = []

    def __call__(self, perturbed_texts):
        self.batches.append(perturbed_texts)
        return np.array([[float(sum(perturbed.ids)), float(len(perturbed.ids))] for perturbed in perturbed_texts])


def asking(*questions):
    """A measurement that asks each list of ids in turn and returns the sum of all first logits."""
    total = 0.0
    for question in questions:
        logits = yield [PerturbedText(tuple(ids)) for ids in question]
        total += logits[:, 0].sum()
    return Measured(total)


def refusing(reason):
    yield from ()
    raise NotMeasurable(reason)


def test_results_come_in_the_order_given_with_reasons_in_their_places():
    measurements = [asking([[1, 2]], [[3]]), refusing("no rationale"), asking([[7], [8, 9]])]
    first, second, third = PerturbationRunner(SumOfIds()).run(measurements)
    assert (first, third) == (Measured(6.0), Measured(24.0))
    assert isinstance(second, NotMeasurable)
    assert str(second) == "no rationale"


def test_each_different_question_is_answered_once():
    model = SumOfIds()
    measurements = [asking([[1, 2], [3]], [[1, 2]]), asking([[3], [4]], [[5]])]
    results = PerturbationRunner(model).run(measurements)
    assert [result.value for result in results] == [9.0, 12.0]
    asked = [perturbed.ids for batch in model.batches for perturbed in batch]
    assert sorted(asked) == [(1, 2), (3,), (4,), (5,)]


def test_token_types_and_rates_make_different_questions():
    model = SumOfIds()

    def one():
        yield [
            PerturbedText((1,)),
            PerturbedText((1,), types=(1,)),
            PerturbedText((1,), keep=(0.5,)),
            PerturbedText((1,), keep=(0.5,), seed=1),
        ]
        return Measured(0.0)

    PerturbationRunner(model).run([one()])
    assert len([perturbed for batch in model.batches for perturbed in batch]) == 4


def test_batches_hold_no_more_tokens_than_allowed_and_are_sorted_by_length():
    model = SumOfIds()
    lengths = [3, 9, 1, 4, 3, 2, 30, 5, 2, 7]
    questions = [[[place] * length] for place, length in enumerate(lengths)]
    PerturbationRunner(model, batch_tokens=12).run([asking(question) for question in questions])
    sizes = [[len(perturbed.ids) for perturbed in batch] for batch in model.batches]
    assert [size for batch in sizes for size in batch] == sorted(lengths)
    assert all(len(batch) * max(batch) <= 12 for batch in sizes[:-1])
    assert sizes[-1] == [30]  # longer than a batch: alone


def test_few_measurements_are_open_at_a_time(monkeypatch):
    monkeypatch.setattr(perturbation_runner, "_BATCHES_AHEAD", 1)
    opened, answered = [], []

    def watched(number):
        opened.append(number)
        yield [PerturbedText((number,) * 4)]
        answered.append(number)
        return Measured(number)

    def lazily():
        for number in range(10):
            assert len(opened) - len(answered) <= 3
            yield watched(number)

    results = PerturbationRunner(SumOfIds(), batch_tokens=8).run(lazily())
    assert [result.value for result in results] == list(range(10))


def test_forgotten_answers_are_asked_again():
    model = SumOfIds()
    PerturbationRunner(model, cached=1).run([asking([[1], [2]], [[3]], [[1]])])
    assert sorted(perturbed.ids for batch in model.batches for perturbed in batch) == [(1,), (1,), (2,), (3,)]


def test_nothing_is_kept_from_run_to_run():
    model = SumOfIds()
    runner = PerturbationRunner(model)
    for _ in range(2):
        runner.run([asking([[1]])])
    assert len(model.batches) == 2


def test_answers_that_are_no_numbers_measure_nothing():
    def broken(perturbed_texts):
        return np.array([[np.nan if perturbed.ids == (1,) else 0.0, 0.0] for perturbed in perturbed_texts])

    first, second = PerturbationRunner(broken).run([asking([[1]]), asking([[2]])])
    assert str(first) == "the model answers with NaN or infinity"
    assert second == Measured(0.0)


# Real models ------------------------------------------------------------------------------------------------------


def stock_model(**config):
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(**SIZE, num_labels=3, initializer_range=0.5, **config))
    return model.eval()


def roberta():
    torch.manual_seed(0)
    config = RobertaConfig(**SIZE, num_labels=3, initializer_range=0.5, pad_token_id=0, max_position_embeddings=64)
    return RobertaForSequenceClassification(config).eval()


def decoder():
    """Reads the last token that is not padding."""
    torch.manual_seed(0)
    config = LlamaConfig(**SIZE, num_labels=3, initializer_range=0.5, pad_token_id=1)
    return LlamaForSequenceClassification(config).eval()


def own_model():
    torch.manual_seed(0)
    config = AttribConfig(backbone_config=BertConfig(**SIZE, initializer_range=0.5), num_labels=3)
    return AttribForSequenceClassification(config).eval()


def t5():
    """Looks words up in another module than its table is in."""
    torch.manual_seed(0)
    config = T5Config(vocab_size=SIZE["vocab_size"], d_model=16, d_kv=8, num_layers=2, num_heads=2, d_ff=32)
    return AttribForSequenceClassification(AttribConfig(backbone_config=config, num_labels=3)).eval()


def random_variants(count=60):
    generator = np.random.default_rng(0)
    return [
        PerturbedText((2, *generator.integers(4, 11, size=generator.integers(1, 30)).tolist(), 3)) for _ in range(count)
    ]


@pytest.mark.parametrize("make", [stock_model, roberta, decoder, own_model])
def test_an_answer_does_not_depend_on_its_company(make):
    model = make()
    perturbed_texts = random_variants()

    def measure(perturbed):
        logits = yield [perturbed]
        return Measured(0.0, tuple(logits[0]))

    together = PerturbationRunner(classifier_logits(model, TOKENIZER)).run([measure(v) for v in perturbed_texts])
    with torch.no_grad():
        alone = [model(torch.tensor([perturbed.ids])).logits[0].double().numpy() for perturbed in perturbed_texts]
    difference = np.abs(np.array([result.curve for result in together]) - np.array(alone)).max()
    assert difference < 1e-5
    assert np.std(alone) > 0.05  # the model does tell the texts apart


def test_our_own_model_explains_nothing_meanwhile(monkeypatch):
    model = own_model()
    expected = classifier_logits(model, TOKENIZER)([PerturbedText((2, 5, 6, 3))])

    def explain(*arguments):
        raise AssertionError("explained while perturbing")

    monkeypatch.setattr(model, "_explain", explain)
    with pytest.raises(AssertionError), torch.no_grad():
        model(torch.tensor([[2, 5, 6, 3]]))
    assert np.array_equal(classifier_logits(model, TOKENIZER)([PerturbedText((2, 5, 6, 3))]), expected)


def test_pairs_are_read_with_their_token_types():
    model = stock_model()
    encoded = TOKENIZER("a b", "c", return_tensors="pt")
    assert encoded["token_type_ids"].any()
    with torch.no_grad():
        expected = model(**encoded).logits[0].double().numpy()
    ids, types = (tuple(encoded[name][0].tolist()) for name in ("input_ids", "token_type_ids"))
    long = PerturbedText((2, *[5] * 9, 3))
    with_types, _, without = classifier_logits(model, TOKENIZER)([PerturbedText(ids, types), long, PerturbedText(ids)])
    assert np.abs(with_types - expected).max() < 1e-5
    assert np.abs(without - expected).max() > 1e-3


def test_answers_are_float64_and_leave_no_hook():
    model = LinearClassifier({"a": 1.0})
    logits = classifier_logits(model, TOKENIZER)
    assert logits([PerturbedText((5,), keep=(0.5,))]).dtype == np.float64
    with pytest.raises(IndexError):
        logits([PerturbedText((99,), keep=(0.5,))])
    assert not model.table._forward_hooks


@pytest.mark.parametrize("make", [stock_model, t5])
def test_thinned_embeddings_belong_to_the_variant(make):
    # Each of two entries stays with its token's rate, whoever else is in the batch.
    model = make()
    logits = classifier_logits(model, TOKENIZER)
    soft = PerturbedText((2, 5, 6, 3), keep=(1.0, 0.5, 0.5, 1.0), seed=7)
    company = [PerturbedText((2, *[8] * 9, 3)), PerturbedText((2, 5, 6, 3)), soft._replace(seed=8), soft]
    alone, together = logits([soft])[0], logits(company)
    assert np.abs(together[3] - alone).max() < 1e-5
    assert np.abs(together[2] - alone).max() > 1e-3  # another seed
    assert np.abs(together[1] - logits([company[1]])[0]).max() < 1e-5  # a neighbour that is left whole


def test_rates_of_one_and_zero_are_the_text_and_no_embedding():
    model = LinearClassifier({"a": 2.0, "b": 1.0})
    whole, nothing, half = classifier_logits(model, TOKENIZER)(
        [PerturbedText((5, 6), keep=keep, seed=3) for keep in ((1.0, 1.0), (0.0, 0.0), (0.0, 1.0))]
    )
    assert (whole[1], nothing[1], half[1]) == (3.0, 0.0, 1.0)


def test_models_that_choose_no_label_are_refused():
    for config in ({"num_labels": 1}, {"num_labels": 3, "problem_type": "multi_label_classification"}):
        model = BertForSequenceClassification(BertConfig(**SIZE, **config)).eval()
        with pytest.raises(UserError, match="chooses one of two or more labels"):
            classifier_logits(model, TOKENIZER)
    with pytest.raises(ValueError, match="training mode"):
        classifier_logits(stock_model().train(), TOKENIZER)
