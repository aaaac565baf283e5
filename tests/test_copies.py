"""Copies of a network and its optimisers: they stay together."""

import copy
import pickle

import numpy as np
import pytest

import bptt

OPTIMIZERS = {
    "SGD": lambda p, g: bptt.SGD(p, g, momentum=0.9, weight_decay=0.1),
    "RMSprop": bptt.RMSprop,
    "Adagrad": bptt.Adagrad,
    "Adam": lambda p, g: bptt.Adam(p, g, betas=(0.5, 0.9)),
}
WAYS = {
    "deepcopy": copy.deepcopy,
    **{
        f"protocol {n}": lambda pair, n=n: pickle.loads(pickle.dumps(pair, n))
        for n in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}


class Trainer:
    def __init__(self, rnn, *optimizers):
        self.optimizers = optimizers
        self.rnn = rnn


class SelfTrained(bptt.RNN):
    """A network that holds its optimiser, which holds the network."""

    def __init__(self, *sizes, **options):
        super().__init__(*sizes, **options)
        self.optimizer = bptt.Adam(self.params, self.grads, lr=0.1)


def network(cls=bptt.RNN):
    return cls(2, 4, 1, cell="gru", seed=0)


def update(rnn, *optimizers, steps=3):
    for step in range(steps):
        rnn.grads[:] = np.sin(np.arange(rnn.grads.size) + step)
        for optimizer in optimizers:
            optimizer.step()


def assert_goes_on(rnn, optimizers, again, again_optimizers):
    """The copy trains its own network as the original does, and neither touches the other."""
    before = rnn.params.copy()
    update(again, *again_optimizers)
    assert not np.array_equal(again.params, before)
    np.testing.assert_array_equal(rnn.params, before)
    update(rnn, *optimizers)
    np.testing.assert_array_equal(again.params, rnn.params)
    for one, other in zip(optimizers, again_optimizers, strict=True):
        for name, value in one.state_dict().items():
            np.testing.assert_array_equal(other.state_dict()[name], value)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_network_and_its_optimiser(name, way):
    rnn = network()
    optimizer = OPTIMIZERS[name](rnn.params, rnn.grads)
    update(rnn, optimizer)
    optimizer.lr = 0.05
    (again,), (again_optimizer,), once_more = WAYS[way](([rnn], [optimizer], optimizer))
    assert once_more is again_optimizer
    assert again_optimizer.works_on(again.params, again.grads)
    assert (type(again_optimizer), again_optimizer.lr) == (type(optimizer), 0.05)
    assert_goes_on(rnn, [optimizer], again, [again_optimizer])


@pytest.mark.parametrize("way", WAYS)
def test_optimisers_of_parts_of_a_network_in_a_larger_object(way):
    rnn = network()
    views, grads = rnn.param_views(), rnn.grad_views()
    parts = [
        bptt.Adam(rnn.params[:30], rnn.grads[:30]),
        bptt.SGD(views["weight_ho"], grads["weight_ho"]),
        bptt.RMSprop(memoryview(rnn.params)[-1:], rnn.grads[-1:]),
    ]
    update(rnn, *parts)
    again = WAYS[way]({"one": [Trainer(rnn, *parts)]})["one"][0]
    assert_goes_on(rnn, parts, again.rnn, again.optimizers)


@pytest.mark.parametrize("way", [*WAYS, "copy"])
def test_a_network_that_holds_its_optimiser(way):
    rnn = network(SelfTrained)
    rnn.optimizer.network = rnn
    update(rnn, rnn.optimizer)
    again = (WAYS | {"copy": copy.copy})[way](rnn)
    assert again.optimizer.network is again
    assert_goes_on(rnn, [rnn.optimizer], again, [again.optimizer])


@pytest.mark.parametrize("way", WAYS)
def test_an_optimiser_that_holds_its_network(way):
    rnn = network(SelfTrained)
    rnn.optimizer.network = rnn
    again = WAYS[way](rnn.optimizer).network
    assert again.optimizer.network is again
    assert_goes_on(rnn, [rnn.optimizer], again, [again.optimizer])


def test_a_copied_optimiser_goes_on_beside_the_first():
    rnn = network()
    first = bptt.Adam(rnn.params, rnn.grads)
    update(rnn, first)
    second = copy.copy(first)
    assert second.works_on(rnn.params, rnn.grads)
    before = first.state_dict()
    update(rnn, second)
    for name, value in first.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("way", WAYS)
def test_an_optimiser_that_was_copied_alone(way):
    """It would update a network that nobody can read."""
    rnn = network()
    optimizer = bptt.Adam(rnn.params, rnn.grads)
    update(rnn, optimizer)
    again = WAYS[way](optimizer)
    with pytest.raises(RuntimeError, match="the network copied with it is gone"):
        again.step()
    optimizer.load_state_dict(again.state_dict())
    again_rnn, again = WAYS[way]((rnn, optimizer))
    again = WAYS[way]([again_rnn, again])  # a copy of a copy, which keeps its own network
    again[1].step()
    assert not np.array_equal(again[0].params, rnn.params)


@pytest.mark.parametrize("case", ["own arrays", "own grads", "network gone", "another dtype"])
def test_arrays_that_belong_to_no_network(case):
    rnn = network()
    params, grads = rnn.params, rnn.grads
    if case == "own arrays":
        params, grads = params.copy(), grads.copy()
    elif case == "own grads":
        grads = grads.copy()
    elif case == "another dtype":
        params, grads = params[:64].view(np.float64), grads[:64].view(np.float64)
    optimizer = bptt.Adam(params, grads)
    if case == "network gone":
        del rnn
    name = "grads" if case == "own grads" else "params"
    for way in (*WAYS.values(), copy.copy):
        with pytest.raises(TypeError, match=rf"^{name} are not those of a bptt.RNN.*state_dict"):
            way(optimizer)
