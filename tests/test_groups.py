"""Parameter groups and freezing: optimisers over param_views() and over slices of params."""

import copy
import functools

import numpy as np
import pytest

import bptt

T, B, I, H, C = 12, 4, 3, 5, 2
ADAMW = functools.partial(bptt.Adam, decoupled=True, weight_decay=0.1)
MOMENTUM = functools.partial(bptt.SGD, momentum=0.9, weight_decay=0.1)
RULES = {
    "adamw": ADAMW,
    "adam": functools.partial(bptt.Adam, weight_decay=0.1),
    "momentum": MOMENTUM,
    "rmsprop": functools.partial(bptt.RMSprop, weight_decay=0.1),
    "adagrad": functools.partial(bptt.Adagrad, weight_decay=0.1),
}
HEAD = ("weight_ho", "bias_o")


def network(dtype="float64", **options):
    return bptt.RNN(I, H, C, cell="lstm", dtype=dtype, seed=0, **options)


def groups(rnn, rules):
    """An optimiser for each tensor: rules is a function of its name that returns how to make one, or None: frozen."""
    grads = rnn.grad_views()
    made = {name: rules(name) for name in grads}
    return [make(rnn.param_views()[name], grads[name]) for name, make in made.items() if make]


@pytest.fixture
def data(rng):
    return rng.normal(size=(T, B, I)), rng.normal(size=(T, B, C))


def train(rnn, optimizers, data, updates=6, clip=None):
    x, target = data
    for _ in range(updates):
        y, _ = rnn.forward(x)
        rnn.zero_grad()
        rnn.backward(bptt.mse(y, target)[1])
        if clip:
            clip()
        for optimizer in optimizers:
            optimizer.step()


@pytest.mark.parametrize("rule", ["AdamW", "SGD"])
def test_groups_with_rates_and_decays_of_their_own_are_torchs(torch, data, rule):
    """Two param_groups, weight decay for matrices alone, one norm over all."""
    rnn = network()
    lstm, linear = bptt.convert.to_torch(rnn)
    matrices = [p for p in [*lstm.parameters(), *linear.parameters()] if p.dim() == 2]
    biases = [p for p in [*lstm.parameters(), *linear.parameters()] if p.dim() == 1]
    options = {"momentum": 0.9} if rule == "SGD" else {}
    theirs = getattr(torch.optim, rule)(
        [{"params": matrices, "weight_decay": 0.1, "lr": 0.02}, {"params": biases, "weight_decay": 0, "lr": 0.05}],
        **options,
    )
    make = (
        functools.partial(bptt.Adam, decoupled=True) if rule == "AdamW" else functools.partial(bptt.SGD, momentum=0.9)
    )
    of_matrix, of_bias = functools.partial(make, lr=0.02, weight_decay=0.1), functools.partial(make, lr=0.05)
    ours = groups(rnn, lambda name: of_matrix if name.startswith("weight") else of_bias)
    x, target = map(torch.tensor, data)
    for _ in range(6):
        theirs.zero_grad()
        torch.nn.functional.mse_loss(linear(lstm(x)[0]), target).backward()
        norm = torch.cat([p.grad.flatten() for p in [*matrices, *biases]]).norm()
        assert norm > 0.02
        for param in [*matrices, *biases]:
            param.grad *= 0.02 / norm  # clip_grad_norm_ of torch divides by norm + 1e-6
        theirs.step()
    train(rnn, ours, data, clip=lambda: bptt.clip_grad_norm(rnn.grad_views().values(), 0.02))
    expected = lstm.state_dict() | {"weight_ho": linear.weight, "bias_o": linear.bias}
    for name, value in rnn.param_views().items():
        np.testing.assert_allclose(value, expected[name].detach().numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", RULES)
def test_groups_with_the_same_options_are_one_optimizer(data, rule, dtype):
    """To the bit: an update is element by element."""
    whole, parts = network(dtype), network(dtype)
    train(whole, [RULES[rule](whole.params, whole.grads)], data)
    train(parts, groups(parts, lambda name: RULES[rule]), data)
    np.testing.assert_array_equal(whole.params, parts.params)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("frozen", [HEAD, ("weight_hh_l0",), ("weight_ih_l0", "bias_ih_l0", "bias_hh_l0")])
@pytest.mark.parametrize("clipping", ["by norm", "by value", "what trains"])
def test_what_has_no_optimizer_stays_to_the_bit(data, rule, dtype, frozen, clipping):
    """In spite of weight decay, momentum and clipping; the rest trains as if alone."""
    rnn = network(dtype)
    before = rnn.state_dict()
    grads = rnn.grad_views()
    clip = {
        "by norm": lambda: rnn.clip_grad_norm(0.1),
        "by value": lambda: rnn.clip_grad_value(0.01),
        "what trains": lambda: bptt.clip_grad_norm([grads[name] for name in grads if name not in frozen], 0.1),
    }
    train(rnn, groups(rnn, lambda name: None if name in frozen else RULES[rule]), data, clip=clip[clipping])
    for name, value in rnn.param_views().items():
        same = np.array_equal(value, before[name])
        assert same == (name in frozen), name


def test_zeroed_gradients_do_not_freeze(data):
    """What the docs warn of: weight decay and the momentum of earlier steps go on."""
    rnn = network()
    optimizer = ADAMW(rnn.params, rnn.grads)
    kept = rnn.state_dict()["weight_ho"]
    train(rnn, [optimizer], data, clip=lambda: rnn.grad_views()["weight_ho"].fill(0))
    assert not np.array_equal(rnn.param_views()["weight_ho"], kept)


@pytest.mark.parametrize("rule", RULES)
def test_a_group_that_rests_goes_on_where_it_was(data, rule):
    """Frozen by not stepping: its parameters and its state stay to the bit while the others train."""
    rnn = network()
    first = rnn.tensors()[-2][1]  # weight_ho and bias_o are the last tensors, one slice of params
    assert [name for name, _, _ in rnn.tensors()[-2:]] == list(HEAD)
    body = RULES[rule](rnn.params[:first], rnn.grads[:first])
    head = RULES[rule](rnn.params[first:], rnn.grads[first:])
    train(rnn, [body, head], data)
    params, state = rnn.params.copy(), head.state_dict()
    train(rnn, [body], data)
    np.testing.assert_array_equal(rnn.params[first:], params[first:])
    assert not np.array_equal(rnn.params[:first], params[:first])
    for name, value in head.state_dict().items():
        np.testing.assert_array_equal(value, state[name])
    twin = RULES[rule](alone := params[first:].copy(), rnn.grads[first:])
    twin.load_state_dict(state)
    train(rnn, [head, twin], data, updates=1)
    np.testing.assert_array_equal(rnn.params[first:], alone)


def test_fit_trains_one_part(data):
    """An optimiser over views goes into fit as it is: the other tensors stay."""
    rnn = network()
    before = rnn.state_dict()
    views, grads = rnn.param_views(), rnn.grad_views()
    bptt.fit(rnn, *data, optimizer=ADAMW(views["weight_ho"], grads["weight_ho"], lr=0.1), epochs=3, progress=False)
    changed = [name for name, value in views.items() if not np.array_equal(value, before[name])]
    assert changed == ["weight_ho"]


class Groups:
    """Several optimisers as one, for fit."""

    def __init__(self, *optimizers):
        self.optimizers = optimizers

    def step(self):
        for optimizer in self.optimizers:
            optimizer.step()


def test_fit_takes_several_optimizers_as_one_object(data):
    one, two = network(), network()
    bptt.fit(one, *data, optimizer=bptt.Adam(one.params, one.grads, lr=0.01), epochs=3, progress=False)
    grouped = Groups(*groups(two, lambda name: functools.partial(bptt.Adam, lr=0.01)))
    bptt.fit(two, *data, optimizer=grouped, epochs=3, progress=False)
    np.testing.assert_array_equal(one.params, two.params)


def test_groups_are_copied_with_their_network(data):
    rnn = network()
    optimizers = groups(rnn, lambda name: ADAMW if name in HEAD else None)
    train(rnn, optimizers, data, updates=2)
    twin, copied = copy.deepcopy((rnn, optimizers))
    train(rnn, optimizers, data, updates=2)
    before = rnn.params.copy()
    train(twin, copied, data, updates=2)
    np.testing.assert_array_equal(twin.params, rnn.params)
    np.testing.assert_array_equal(rnn.params, before)


def test_layers_at_rates_of_their_own(data):
    """Lower layers slower, as one fine-tunes: a slice of params for each layer."""
    rnn = network(num_layers=2)
    grads, views, before = rnn.grad_views(), rnn.param_views(), rnn.state_dict()
    rates = {"l0": 1e-5, "l1": 1e-3, "ho": 1e-2, "o": 1e-2}
    train(
        rnn, [bptt.SGD(views[name], grads[name], lr=rates[name.rpartition("_")[2]]) for name in views], data, updates=1
    )
    for name, view in views.items():
        np.testing.assert_allclose(
            before[name] - view, rates[name.rpartition("_")[2]] * grads[name], rtol=1e-9, atol=1e-15
        )
