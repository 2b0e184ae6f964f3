"""Explaining leaves nothing behind: on the model, in training, in other models and threads, in random state."""

import gc
import random
import sys
import threading

import pytest
import torch
from architectures import SIZE, build
from architectures import batch as make_batch
from transformers import BertConfig, BertModel

from modeling_attrib import list_attribution_methods


METHODS = [method["name"] for method in list_attribution_methods()]
HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
)


def snapshot(model):
    """All that explaining might change: classes, own attributes, hooks, flags, configuration; and a copy of weights."""
    modules = {
        name: (
            type(module),
            type(module).forward,
            sorted(vars(module)),
            module.__dict__.get("forward"),
            module.training,
            [list(getattr(module, hooks)) for hooks in HOOKS],
        )
        for name, module in model.named_modules()
    }
    parameters = {
        name: (id(p), p.requires_grad, p.grad is None, p._backward_hooks, p._version, sorted(vars(p)))
        for name, p in model.named_parameters()
    }
    process = (
        torch._C._len_torch_function_stack(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        list(torch.nn.modules.module._global_forward_hooks),
        list(torch.nn.modules.module._global_forward_pre_hooks),
        torch.nn.functional.scaled_dot_product_attention,
        torch.nn.functional.softmax,
        torch.nn.functional.layer_norm,
    )
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return {"modules": modules, "parameters": parameters, "process": process, "config": model.config.to_dict()}, weights


def assert_unchanged(model, before):
    facts, weights = before
    now, now_weights = snapshot(model)
    for part in facts:
        assert now[part] == facts[part], part
    assert now_weights.keys() == weights.keys()
    assert all(torch.equal(now_weights[name], weights[name]) for name in weights)


def gradients(model, between=lambda: None, seed=0):
    """Loss and gradients of one training step; `between` runs between its forward and its backward."""
    torch.manual_seed(seed)
    model.train()
    model.zero_grad()
    loss = model(**make_batch(), labels=torch.tensor([0, 2, 1])).loss
    between()
    loss.backward()
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    model.eval()
    return loss.item(), found


def assert_same_step(first, second):
    assert first[0] == second[0]
    assert first[1].keys() == second[1].keys()
    different = [name for name in first[1] if not torch.equal(first[1][name], second[1][name])]
    assert not different


# The model itself -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode", [torch.no_grad, torch.inference_mode, torch.enable_grad], ids=lambda mode: mode.__name__
)
@pytest.mark.parametrize("method", METHODS)
def test_nothing_stays_on_the_model(method, mode):
    model = build("bert")
    before = snapshot(model)
    with mode():
        model(**make_batch(), attribution_method=method, attribution_target="all")
    assert_unchanged(model, before)


@pytest.mark.parametrize("name", ["albert", "deberta-v2", "modernbert", "t5-gated", "llama"])
def test_nothing_stays_on_other_architectures(name):
    model = build(name)
    before = snapshot(model)
    for method in METHODS:
        model(**make_batch(), attribution_method=method)
    assert_unchanged(model, before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", [99, "every", torch.tensor([0, 1])], ids=["label", "word", "shape"])
def test_nothing_stays_after_an_impossible_target(method, target):
    model = build("bert")
    before = snapshot(model)
    with pytest.raises(ValueError, match="attribution_target"):
        model(**make_batch(), attribution_method=method, attribution_target=target)
    assert_unchanged(model, before)


@pytest.mark.parametrize("place", ["embeddings", "encoder.layer.0.attention.self", "encoder.layer.1.output", "encoder"])
@pytest.mark.parametrize("method", METHODS)
def test_nothing_stays_when_the_forward_pass_breaks(method, place):
    model = build("bert", feature_adjustment="attribution")

    def fail(*_):
        raise RuntimeError("broken on purpose")

    handle = model.backbone.get_submodule(place).register_forward_hook(fail)
    before = snapshot(model)
    with torch.no_grad(), pytest.raises(RuntimeError, match="broken on purpose"):
        model(**make_batch(), attribution_method=method)
    assert_unchanged(model, before)
    handle.remove()


def test_no_graph_outlives_the_explanation():
    model = build("bert", feature_adjustment="attribution")

    def alive():
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    with torch.no_grad():
        for method in METHODS:  # the first call of each may fill a cache
            model(**make_batch(), attribution_method=method)
        before = alive()
        for method in METHODS:
            model(**make_batch(), attribution_method=method)
    assert alive() == before


# Training ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adjustment", ["none", "attribution"])
@pytest.mark.parametrize("method", METHODS)
def test_training_gradients_keep_every_bit(method, adjustment):
    model = build("bert", feature_adjustment=adjustment)
    expected = gradients(model)
    assert max(gradient.abs().max() for gradient in expected[1].values()) > 1e-3

    def explain():
        model(**make_batch(seed=5), attribution_method=method, attribution_target="all")

    def explain_without_gradients():
        with torch.inference_mode():
            explain()

    assert_same_step(gradients(model, between=explain), expected)
    assert_same_step(gradients(model, between=explain_without_gradients), expected)
    explain()
    assert_same_step(gradients(model), expected)


@pytest.mark.parametrize("method", METHODS)
def test_random_state_is_untouched(method):
    model = build("bert")
    torch.manual_seed(3)
    random.seed(3)
    states = torch.get_rng_state(), random.getstate()
    model(**make_batch(), attribution_method=method)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]


# Other models and threads -----------------------------------------------------------------------------------


class Repeat(threading.Thread):
    """Runs `task` again and again in the background until the `with` block ends; raises there what it raised."""

    def __init__(self, task):
        super().__init__(daemon=True)
        self._task, self._error = task, None
        self._under_way, self._enough = threading.Event(), threading.Event()
        self.rounds = 0

    def run(self):
        try:
            while not self._enough.is_set():
                self._task()
                self.rounds += 1
                self._under_way.set()
        except BaseException as error:
            self._error = error
        self._under_way.set()

    def __enter__(self):
        self.start()
        self._under_way.wait(60)
        return self

    def __exit__(self, *_):
        self._enough.set()
        self.join(60)
        if self._error is not None:
            raise self._error


@pytest.fixture
def restless_threads():
    """Threads take turns some hundred times more often than usual, in the middle of everything."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("restless_threads")
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("method", ["lrp", "attn_lrp", "attention_gradient", "gae", "integrated_gradients"])
def test_an_unrelated_model_never_notices(method, kernel):
    torch.manual_seed(7)
    config = BertConfig(**SIZE, attn_implementation=kernel)
    other = BertModel(config, add_pooling_layer=False).double().eval()
    model = build("bert", kernel)

    def step():
        other.zero_grad()
        output = other(**make_batch(seed=9)).last_hidden_state
        output.pow(2).sum().backward()
        return [output.detach().clone()] + [parameter.grad.clone() for parameter in other.parameters()]

    def same(found):
        return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))

    expected = step()
    with Repeat(lambda: model(**make_batch(), attribution_method=method)) as explaining:
        first = explaining.rounds
        for _ in range(15):
            assert same(step())
        while explaining.rounds < first + 5 and explaining.is_alive():
            assert same(step())
    assert same(step())


@pytest.mark.usefixtures("restless_threads")
@pytest.mark.parametrize(
    "pair",
    [
        *(("lrp", "gradient_x_input"), ("attn_lrp", "lrp_ah"), ("attention_gradient", "lrp"), ("rollout", "attn_lrp")),
        *(("integrated_gradients", "gae"), ("grad_sam", "lrp"), ("attention_shapley", "integrated_gradients")),
    ],
    ids="-and-".join,
)
@pytest.mark.parametrize(
    ("name", "adjustment"), [("bert", "none"), ("albert", "none"), ("bert", "attribution")], ids=str
)
def test_two_threads_explain_with_two_methods_at_once(pair, name, adjustment):
    model = build(name, feature_adjustment=adjustment)
    inputs = [make_batch(seed=21), make_batch((12, 5), seed=22)]

    def explain(who):
        with torch.no_grad():
            return model(**inputs[who], attribution_method=pair[who], attribution_target="all")

    alone = [explain(0), explain(1)]
    before = snapshot(model)
    meet, wrong = threading.Barrier(2, timeout=60), []

    def work(who):
        try:
            for number in range(20):
                meet.wait()
                output = explain(who)
                if not torch.equal(output.attributions, alone[who].attributions):
                    wrong.append((pair[who], number, "attributions"))
                if not torch.equal(output.logits, alone[who].logits):
                    wrong.append((pair[who], number, "logits"))
        except BaseException as error:
            wrong.append((pair[who], repr(error)))
            meet.abort()

    threads = [threading.Thread(target=work, args=(who,)) for who in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert_unchanged(model, before)


@pytest.mark.usefixtures("restless_threads")
@pytest.mark.parametrize("adjustment", ["none", "attribution"])
def test_training_in_one_thread_while_another_explains(adjustment):
    model = build("bert", feature_adjustment=adjustment, classifier_dropout=0.0)

    def step():
        model.zero_grad()
        model(**make_batch(), labels=torch.tensor([0, 2, 1])).loss.backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    def explain():
        with torch.no_grad():
            outputs.append(model(**make_batch(seed=8), attribution_method="lrp").attributions)

    outputs = []
    explain()
    expected = step()
    with Repeat(explain):
        for _ in range(15):
            found = step()
            assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert len(outputs) > 2
    assert all(torch.equal(output, outputs[0]) for output in outputs)
