"""Modules of bptt.torch and conversions from and to torch, where the input is integers."""

import copy
import io
import pickle

import numpy as np
import pytest
from test_torch import KINDS, close, made, pack, pad, parts

import bptt

torch = pytest.importorskip("torch")
bt = pytest.importorskip("bptt.torch")

V, E, H = 7, 4, 5
INPUTS = [{"num_embeddings": V}, {"num_embeddings": V, "padding_idx": -5}, {"one_hot": True}]


class Theirs(torch.nn.Module):
    """torch.nn's own modules, with the parameters of one of ours."""

    def __init__(self, ours, kind, **options):
        super().__init__()
        self.module = made(torch.nn, kind, ours.input_size, H, **options)
        self.one_hot = ours.one_hot
        state = ours.state_dict()
        if not self.one_hot:
            padding = ours.padding_idx
            self.table = torch.nn.Embedding(ours.num_embeddings, ours.input_size, padding, dtype=torch.float64)
            self.table.load_state_dict({"weight": state.pop("embedding")})
        self.module.load_state_dict(state)

    def vectors(self, x):
        if self.one_hot:
            return torch.nn.functional.one_hot(x.long(), V).double()
        return self.table(x.long())

    def forward(self, x, hx=None):
        if isinstance(x, torch.Tensor):
            return self.module(self.vectors(x), hx)
        return self.module(x._replace(data=self.vectors(x.data)), hx)

    def gradients(self):
        table = {} if self.one_hot else {"embedding": self.table.weight.grad}
        return {name: p.grad for name, p in self.module.named_parameters()} | table


def both(kind, inputs, **options):
    ours = made(bt, kind, V if "one_hot" in inputs else E, H, **inputs, **options)
    return ours, Theirs(ours, kind, **options)


def check_gradients(ours, theirs):
    gradients = theirs.gradients()
    for name, p in ours.named_parameters():
        close(p.grad, gradients.pop(name))
    assert not gradients


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inputs", INPUTS, ids=str)
@pytest.mark.parametrize("deep", [False, True])
def test_modules_agree_with_torch(kind, inputs, deep):
    options = {"num_layers": 2, "bidirectional": True, "batch_first": True} if deep else {}
    ours, theirs = both(kind, inputs, **options)
    assert ours.padding_idx == (2 if "padding_idx" in inputs else None)
    for shape, dtype in (((9, 6), torch.int64), ((6, 3), torch.uint8), ((8,), torch.int32)):
        x = torch.randint(0, V, shape).to(dtype)
        ours.zero_grad()
        theirs.zero_grad()
        y, state = ours(x)
        expected, last = theirs(x)
        for a, b in zip((y, *parts(state)), (expected, *parts(last)), strict=True):
            close(a, b)
        dy = torch.randn_like(y)
        y.backward(dy)
        expected.backward(dy)
        check_gradients(ours, theirs)
        again, _ = ours(x, tuple(map(torch.clone, state)) if kind == "lstm" else state)
        close(again, theirs(x, last)[0])
        with torch.no_grad():
            close(ours(x)[0], y)


@pytest.mark.parametrize("inputs", INPUTS, ids=str)
@pytest.mark.parametrize("batch_first", [False, True])
def test_packed_sequences(inputs, batch_first):
    ours, theirs = both("gru", inputs, batch_first=batch_first, bidirectional=True)
    x = torch.randint(0, V, (3, 8) if batch_first else (8, 3))
    packed = pack(x, [4, 8, 1], batch_first, enforce_sorted=False)
    (y, state), (expected, last) = ours(packed), theirs(packed)
    close(pad(y)[0], pad(expected)[0])
    close(state, last)
    y.data.sum().backward()
    expected.data.sum().backward()
    check_gradients(ours, theirs)


@pytest.mark.filterwarnings("ignore")  # of torch.jit.trace
@pytest.mark.parametrize("inputs", INPUTS, ids=str)
def test_second_derivatives_and_transforms(inputs):
    """Those that torch computes: create_graph=True, transforms of torch.func, empty batches, traces."""
    ours, theirs = both("lstm", inputs)
    x = torch.randint(0, V, (5, 3))
    found = []
    for module in (ours, theirs):
        params = dict(module.named_parameters())
        y, _ = module(x)
        first = torch.autograd.grad((y**2).sum(), list(params.values()), create_graph=True)
        second = torch.autograd.grad(sum((g**2).sum() for g in first), list(params.values()))
        found.append({name.split(".")[-1]: g for name, g in zip(params, second, strict=True)})
    for name, g in found[0].items():
        close(g, found[1]["weight" if name == "embedding" else name])

    def loss(params):
        return (torch.func.functional_call(ours, params, x)[0] ** 2).sum()

    params = {name: p.detach() for name, p in ours.named_parameters()}
    (ours(x)[0] ** 2).sum().backward()
    for name, g in torch.func.grad(loss)(params).items():
        close(g, getattr(ours, name).grad)
    assert ours(x[:, :0])[0].shape == (5, 0, H)
    traced = torch.jit.trace(ours, (x,), check_trace=False)
    close(traced(x)[0], ours(x)[0])


@pytest.mark.parametrize("inputs", INPUTS, ids=str)
def test_copies_pickles_files_and_dtypes(inputs):
    ours, _ = both("gru", inputs)
    x = torch.randint(0, V, (5, 3))
    y, _ = ours(x)
    file = io.BytesIO()
    torch.save(ours.state_dict(), file)
    file.seek(0)
    loaded = made(bt, "gru", V if ours.one_hot else E, H, seed=1, **inputs)
    loaded.load_state_dict(torch.load(file))
    for other in (loaded, copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert torch.equal(other(x)[0], y)
    single = copy.deepcopy(ours).float()
    assert single(x)[0].dtype is torch.float32
    close(single(x)[0].double(), y, 1e-5)
    for name in inputs:
        assert f"{name}={getattr(ours, name)}" in str(ours)
    assert not [name for name in ("one_hot", "num_embeddings", "padding_idx") if name in str(made(bt, "gru", 3, 4))]
    if not ours.one_hot:
        ours.reset_parameters()
        assert 0.5 < ours.embedding.std() < 1.5
        assert ours.padding_idx is None or not ours.embedding[ours.padding_idx].any()


def test_training():
    ours, theirs = both("lstm", INPUTS[1])
    x, target = torch.randint(0, V, (9, 4)), torch.randn(9, 4, H, dtype=torch.float64)
    losses = []
    for module in (ours, theirs):
        optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
        losses.append([])
        for _ in range(5):
            optimizer.zero_grad()
            loss = ((module(x)[0] - target) ** 2).mean()
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    np.testing.assert_allclose(*losses, rtol=1e-10)
    assert not ours.embedding[2].any()


BAD = {
    "floats": (torch.zeros(4, 2), TypeError, "input must be of integers on the CPU, got .*float32"),
    "bools": (torch.zeros(4, 2, dtype=torch.bool), TypeError, "input must be of integers .* got torch.bool"),
    "complex": (torch.zeros(4, 2, dtype=torch.complex64), TypeError, "got torch.complex64 on cpu"),
    "an array": (np.zeros((4, 2), int), TypeError, "input must be a torch.Tensor, got ndarray"),
    "axes": (torch.zeros(4, 2, 3, dtype=torch.long), ValueError, r"input must have 1 or 2 axes, got shape \(4, 2, 3\)"),
    "another device": (torch.zeros(4, 2, dtype=torch.long, device="meta"), TypeError, "got torch.int64 on meta"),
    "too large": (torch.tensor([[0, 1], [2, 7]]), ValueError, r"input must hold integers in 0..6, got 7 at \[1, 1\]"),
    "negative": (torch.tensor([3, -2]), ValueError, r"got -2 at \[1\]"),
    "packed vectors": (pack(torch.zeros(4, 2, 3), [4, 2]), ValueError, "the data of input must have 1 axes"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("inputs", INPUTS[::2], ids=str)
def test_bad_calls(name, inputs):
    bad, error, text = BAD[name]
    ours, _ = both("gru", inputs)
    with pytest.raises(error, match=text):
        ours(bad)


@pytest.mark.parametrize("options, text", [
    ({"one_hot": True, "num_embeddings": 3}, "one_hot=True goes with num_embeddings=None"),
    ({"padding_idx": 1}, "padding_idx goes with num_embeddings"),
    ({"num_embeddings": 3, "padding_idx": 3}, "padding_idx must be in -3..2, got 3"),
])  # fmt: skip
def test_bad_modules(options, text):
    with pytest.raises(ValueError, match=text):
        bt.GRU(3, 4, **options)


# ---- conversions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inputs", INPUTS, ids=str)
@pytest.mark.parametrize("O", [3, None])
def test_to_torch_and_back(inputs, O):
    rnn = bptt.RNN(
        V if "one_hot" in inputs else E, H, O, cell="lstm", dtype="float64", seed=0, batch_first=True, **inputs
    )
    embedding, module, readout = bptt.convert.to_torch(rnn)
    assert isinstance(embedding, torch.nn.Embedding)
    assert embedding.padding_idx == rnn.padding_idx
    assert embedding.weight.requires_grad is not rnn.one_hot
    x = torch.randint(0, V, (3, 8))
    y, _ = module(embedding(x))
    y = y if readout is None else readout(y)
    close(torch.from_numpy(rnn.forward(x.numpy())[0]), y, 1e-12)
    again = bptt.convert.from_torch(module, readout, embedding=embedding)
    assert again.spec == rnn.spec
    np.testing.assert_array_equal(again.params, rnn.params)


def test_from_torch_keeps_what_an_embedding_is():
    module = torch.nn.GRU(3, 5)
    for embedding in (torch.nn.Embedding(9, 3, padding_idx=-2, sparse=True), torch.nn.Embedding(3, 3)):
        rnn = bptt.convert.from_torch(module, embedding=embedding)
        assert (rnn.num_embeddings, rnn.padding_idx) == (embedding.num_embeddings, embedding.padding_idx)
        np.testing.assert_array_equal(rnn.param_views()["embedding"], embedding.weight.detach())
    frozen = torch.nn.Embedding.from_pretrained(torch.eye(3))
    assert bptt.convert.from_torch(module, embedding=frozen).one_hot
    trained = torch.nn.Embedding.from_pretrained(torch.eye(3), freeze=False)
    assert bptt.convert.from_torch(module, embedding=trained).num_embeddings == 3
    cell = torch.nn.LSTMCell(3, 5)
    assert bptt.convert.from_torch(cell, embedding=torch.nn.Embedding(4, 3)).num_embeddings == 4


@pytest.mark.parametrize("inputs", INPUTS, ids=str)
def test_from_modules_of_bptt_torch(inputs):
    ours, _ = both("gru", inputs)
    rnn = bptt.convert.from_torch(ours)
    x = torch.randint(0, V, (5, 2))
    close(torch.from_numpy(rnn.forward(x.numpy())[0]), ours(x)[0])
    assert (rnn.one_hot, rnn.num_embeddings, rnn.padding_idx) == (ours.one_hot, ours.num_embeddings, ours.padding_idx)
    with pytest.raises(ValueError, match="embedding must be None"):
        bptt.convert.from_torch(ours, embedding=torch.nn.Embedding(3, ours.input_size))


@pytest.mark.parametrize("embedding, error, text", [
    (torch.nn.Embedding(9, 4), ValueError, "embedding must have embedding_dim = 3, .* got 4"),
    (torch.nn.Embedding(9, 3, max_norm=1.0), ValueError, "embedding must have max_norm=None, .* got 1.0"),
    (torch.nn.Embedding(9, 3, scale_grad_by_freq=True), ValueError, "scale_grad_by_freq=False, .* got True"),
    (torch.nn.EmbeddingBag(9, 3), TypeError, "embedding must be a torch.nn.Embedding, got EmbeddingBag"),
    (torch.nn.Embedding(9, 3, device="meta"), ValueError, "embedding.weight must have dense values"),
    (torch.nn.Embedding(9, 3, dtype=torch.float64), TypeError, "or all torch.float64, got"),
], ids=str)  # fmt: skip
def test_embeddings_that_do_not_fit(embedding, error, text):
    with pytest.raises(error, match=text):
        bptt.convert.from_torch(torch.nn.GRU(3, 5), embedding=embedding)
