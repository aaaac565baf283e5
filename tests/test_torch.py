"""Networks from torch's modules and back, and bptt.torch beside torch.nn."""

import copy
import io
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

import bptt

torch = pytest.importorskip("torch")
bt = pytest.importorskip("bptt.torch")
torch_random = pytest.importorskip("torch_random")
forward_ad = torch.autograd.forward_ad
pack, pad = torch.nn.utils.rnn.pack_padded_sequence, torch.nn.utils.rnn.pad_packed_sequence

KINDS = ("tanh", "relu", "lstm", "gru")
PLACES = {"lstm": "LSTM", "gru": "GRU", "tanh": "RNN", "relu": "RNN"}


def made(home, kind, *args, seed=0, **options):
    """A module of torch.nn or bptt.torch in float64, drawn from a seed."""
    torch.manual_seed(seed)
    if kind == "relu":
        options["nonlinearity"] = "relu"
    return getattr(home, PLACES[kind])(*args, **{"dtype": torch.float64} | options)


def pair(kind, *args, **options):
    return made(torch.nn, kind, *args, **options), made(bt, kind, *args, **options)


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def close(actual, expected, tolerance=1e-10):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


# ---- from_torch, to_torch


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("readout", [None, True, False], ids=["no readout", "readout", "readout without bias"])
@pytest.mark.parametrize(
    "options",
    [{}, {"num_layers": 3, "bidirectional": True, "batch_first": True, "dropout": 0.25}, {"bias": False},
     {"dtype": torch.float32}],
    ids=str,
)  # fmt: skip
def test_from_torch_and_back(kind, readout, options):
    module = made(torch.nn, kind, 3, 5, **options).eval()
    linear = None
    if readout is not None:
        linear = torch.nn.Linear(10 if module.bidirectional else 5, 2, bias=readout, dtype=module.weight_ih_l0.dtype)
    rnn = bptt.convert.from_torch(module, linear)
    x = torch.randn(4, 6, 3, dtype=module.weight_ih_l0.dtype)
    expected, state = module(x)
    y, last = rnn.forward(x.numpy(), tape=False)
    tolerance = 1e-12 if rnn.dtype == np.float64 else 1e-6
    close(torch.from_numpy(y), expected if linear is None else linear(expected), tolerance)
    for ours, theirs in zip(parts(last), parts(state), strict=True):
        close(torch.from_numpy(ours), theirs, tolerance)

    generator = torch.get_rng_state()
    again, back = bptt.convert.to_torch(rnn)
    assert torch.equal(generator, torch.get_rng_state())
    assert type(again) is type(module)
    assert str(again.eval()) == str(module) or rnn.bias != module.bias
    for name, value in module.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert (back is None) == (linear is None)
    if linear is not None:
        assert torch.equal(back.weight, linear.weight)
    np.testing.assert_array_equal(bptt.convert.from_torch(again, back).params, rnn.params)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_from_torch_cells(kind, bias):
    options = {"nonlinearity": kind} if kind in ("tanh", "relu") else {}
    cell = getattr(torch.nn, PLACES[kind] + "Cell")(3, 5, bias=bias, dtype=torch.float64, **options)
    rnn = bptt.convert.from_torch(cell, threads=1)
    assert (rnn.cell, rnn.bias, rnn.dtype.name, rnn.threads) == (kind, bias, "float64", 1)
    x, state = torch.randn(4, 2, 3, dtype=torch.float64), None
    y, _ = rnn.forward(x.numpy())
    for t in range(4):
        state = cell(x[t], state)
        close(torch.from_numpy(y[t]), parts(state)[0], 1e-12)


def test_numbers_of_torchs_own_tests():
    """LSTM(2, 2) of PyTorch's C++ tests: every parameter p[i] = i / numel, x[i] = (24 - i) / 24."""
    module = torch.nn.LSTM(2, 2)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_((torch.arange(p.numel()) / p.numel()).reshape(p.shape))
    y, _ = bptt.convert.from_torch(module).forward(((24 - np.arange(24)) / 24).reshape(3, 4, 2))
    np.testing.assert_allclose(y.ravel()[:4], [0.4391, 0.5402, 0.4330, 0.5324], atol=5e-5)
    np.testing.assert_allclose(y.ravel()[-2:], [0.7484, 0.8666], atol=5e-5)


def test_from_torch_copies():
    module = torch.nn.GRU(2, 3)
    rnn = bptt.convert.from_torch(module)
    rnn.params += 1
    assert not np.allclose(rnn.param_views()["bias_ih_l0"], module.bias_ih_l0.detach())


@pytest.mark.parametrize("module, readout, error, text", [
    (torch.nn.Linear(2, 3), None, TypeError, "module must be a torch.nn.RNN, LSTM, GRU, .* got Linear"),
    ("lstm", None, TypeError, "module must be .* got str"),
    (torch.nn.LSTM(2, 3, proj_size=1), None, ValueError, "module must have proj_size 0, .* got 1"),
    (torch.nn.GRU(2, 3, dtype=torch.float16), None, TypeError, "all torch.float64, got torch.float16"),
    (torch.nn.GRU(2, 3), torch.nn.ReLU(), TypeError, "readout must be a torch.nn.Linear, got ReLU"),
    (torch.nn.GRU(2, 3, bidirectional=True), torch.nn.Linear(3, 1), ValueError, "in_features = 6, .* got 3"),
    (torch.nn.GRU(2, 3), torch.nn.Linear(3, 1).double(), TypeError, "float64, got torch.float.., torch.float"),
], ids=str)  # fmt: skip
def test_from_torch_errors(module, readout, error, text):
    with pytest.raises(error, match=text):
        bptt.convert.from_torch(module, readout)


@pytest.mark.parametrize("options, text", [
    ({"cell": "sigmoid"}, "cell='sigmoid'"),
    ({"cell": "identity"}, "cell='identity'"),
    ({"cell": "gru", "reset_after": False}, "reset_after=False"),
    ({"cell": "lstm", "peepholes": True}, "peepholes=True"),
    ({"learn_state": True}, "learn_state=True"),
    ({"recurrent_dropout": 0.5}, "recurrent_dropout=0.5"),
    ({"cell": "sigmoid", "learn_state": True}, "cell='sigmoid' and learn_state=True"),
], ids=str)  # fmt: skip
def test_to_torch_errors(options, text):
    with pytest.raises(ValueError, match=f"torch.nn has no counterpart of {text}"):
        bptt.convert.to_torch(bptt.RNN(2, 3, **options))


# ---- bptt.torch


def compared(theirs, ours, x, hx=None):
    """Outputs, states and all gradients of a loss of both, which must agree."""
    results = []
    for module in (theirs, ours):
        module.zero_grad()
        leaves = [x.detach().clone().requires_grad_()]
        state = hx
        if hx is not None:
            leaves += [part.detach().clone().requires_grad_() for part in parts(hx)]
            state = tuple(leaves[1:]) if isinstance(hx, tuple) else leaves[1]
        y, last = module(leaves[0], state)
        loss = (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)).sum()
        loss = loss + sum((part**2).sum() for part in parts(last))
        loss.backward()
        results.append([y, *parts(last), *(leaf.grad for leaf in leaves), *(p.grad for p in module.parameters())])
    for ours, theirs in zip(*results, strict=True):
        close(ours, theirs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_layers, bidirectional", [(1, False), (1, True), (2, False), (3, True)])
@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"bias": False}], ids=str)
def test_modules_agree_with_torch(kind, num_layers, bidirectional, options):
    theirs, ours = pair(kind, 3, 5, num_layers, bidirectional=bidirectional, **options)
    assert isinstance(ours, type(theirs))
    assert str(ours) == str(theirs)
    for (name, value), (ours_name, ours_value) in zip(theirs.named_parameters(), ours.named_parameters(), strict=True):
        assert name == ours_name
        assert torch.equal(value, ours_value)  # the same draws
    units = num_layers * (1 + bidirectional)
    for shape, state in (((4, 2, 3), (units, 4 if "batch_first" in options else 2, 5)), ((4, 3), (units, 5))):
        x = torch.randn(shape, dtype=torch.float64)
        hx = torch.randn(state, dtype=torch.float64)
        compared(theirs, ours, x)
        compared(theirs, ours, x, (hx, hx.cos()) if kind == "lstm" else hx)


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_of_any_layout(kind):
    theirs, ours = pair(kind, 3, 5)
    x = torch.randn(2, 4, 6, dtype=torch.float64)[:, :, ::2].transpose(0, 1)
    compared(theirs, ours, x)
    close(ours(x)[0], theirs(x)[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [(5, 5, 2, 1), (2, 5, 1, 4)], ids=str)
@pytest.mark.parametrize("given", [False, True])
def test_packed_sequences(kind, batch_first, bidirectional, lengths, given):
    theirs, ours = pair(kind, 3, 5, 2, batch_first=batch_first, bidirectional=bidirectional)
    x = torch.randn((4, 5, 3) if batch_first else (5, 4, 3), dtype=torch.float64)
    hx = torch.randn(4 if bidirectional else 2, 4, 5, dtype=torch.float64) if given else None
    if given and kind == "lstm":
        hx = (hx, hx.sin())
    results = []
    for module in (theirs, ours):
        leaf = x.clone().requires_grad_()
        packed, last = module(pack(leaf, lengths, batch_first, lengths == tuple(sorted(lengths)[::-1])), hx)
        y, sizes = pad(packed, batch_first)
        assert tuple(sizes) == lengths
        (y.sin().sum() + sum((part**2).sum() for part in parts(last))).backward()
        results.append([packed.data, y, *parts(last), leaf.grad, *(p.grad for p in module.parameters())])
    for theirs, ours in zip(*results, strict=True):
        close(ours, theirs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_layers, bidirectional", [(1, False), (2, True)])
@pytest.mark.parametrize("packed", [False, True])
def test_gradcheck(kind, num_layers, bidirectional, packed):
    module = made(bt, kind, 2, 3, num_layers, bidirectional=bidirectional)
    names = [name for name, _ in module.named_parameters()]
    x = torch.randn(4, 2, 2, dtype=torch.float64, requires_grad=True)
    states = [torch.randn(num_layers * (1 + bidirectional), 2, 3, dtype=torch.float64, requires_grad=True)
              for _ in range(2 if kind == "lstm" else 1)]  # fmt: skip

    def call(x, *rest):
        hx = rest[: len(states)]
        sequence = pack(x, (2, 4), enforce_sorted=False) if packed else x
        with torch.no_grad():
            for name, value in zip(names, rest[len(states) :], strict=True):
                assert value is getattr(module, name)
        y, last = module(sequence, hx if kind == "lstm" else hx[0])
        return y.data, *parts(last)

    assert torch.autograd.gradcheck(call, (x, *states, *module.parameters()))


def test_state_dicts_go_both_ways():
    theirs, ours = made(torch.nn, "lstm", 3, 5, 2, seed=1), made(bt, "lstm", 3, 5, 2, seed=2)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    ours.load_state_dict(theirs.state_dict())
    compared(theirs, ours, x)
    theirs.load_state_dict(made(bt, "lstm", 3, 5, 2, seed=3).state_dict())
    state = {name: value.clone() for name, value in theirs.state_dict().items()}
    ours.load_state_dict(state, assign=True)
    compared(theirs, ours, x)
    for name, p in ours.named_parameters():  # as with torch.nn, the module has the memory of that dict
        assert p.data_ptr() == state[name].data_ptr(), name


def in_place(module):
    """Whether bptt reads the parameters where they are: one behind the other."""
    params, end = list(module.parameters()), next(module.parameters()).data_ptr()
    for p in params:
        if p.data_ptr() != end or not p.is_contiguous():
            return False
        end += p.numel() * p.element_size()
    return module._layout.values(params).data_ptr() == params[0].data_ptr()


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_a_training_script_changes_one_import(optimizer):
    """The same losses step by step, with clipping and zero_grad(set_to_none=False) in between."""
    x = torch.randn(12, 4, 3, dtype=torch.float64)
    histories = []
    for home in (torch.nn, bt):
        torch.manual_seed(0)
        model = torch.nn.ModuleDict({"rnn": home.LSTM(3, 6, 2), "readout": torch.nn.Linear(6, 1)}).double()
        step = getattr(torch.optim, optimizer)(model.parameters(), lr=0.1)
        losses = []
        for _ in range(5):
            step.zero_grad(set_to_none=False)
            loss = torch.nn.functional.mse_loss(model.readout(model.rnn(x)[0]), x.sum(2, keepdim=True))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            step.step()
            losses.append(loss.item())
        histories.append(losses)
    np.testing.assert_allclose(*histories, rtol=1e-8)


def test_several_forwards_before_backward():
    theirs, ours = pair("gru", 3, 5)
    x = torch.randn(3, 4, 2, 3, dtype=torch.float64)
    for module in (theirs, ours):
        state, losses = None, []
        for sequence in x:  # the graph goes through all of them, and each has a loss of its own
            y, state = module(sequence, state)
            losses.append((y**2).sum())
        losses[1].backward(retain_graph=True)
        (losses[0] + losses[2]).backward()
    for p, q in zip(theirs.parameters(), ours.parameters(), strict=True):
        close(q.grad, p.grad)


def test_gradients_accumulate_and_belong_to_the_caller():
    module = made(bt, "lstm", 3, 5)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    module(x)[0].sum().backward()
    once = [p.grad.clone() for p in module.parameters()]
    held = [p.grad for p in module.parameters()]
    module(x)[0].sum().backward()
    for p, grad, same in zip(module.parameters(), once, held, strict=True):
        close(p.grad, 2 * grad)
        assert p.grad is same
    y = module(x)[0]
    first = torch.autograd.grad(y.sum(), module.parameters(), retain_graph=True)
    again = torch.autograd.grad(y.sum(), module.parameters())
    for a, b, grad in zip(first, again, once, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, grad)
        assert a.data_ptr() != b.data_ptr()


def test_frozen_parameters_and_inputs():
    theirs, ours = pair("gru", 3, 5)
    x = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)
    for module in (theirs, ours):
        module.weight_hh_l0.requires_grad_(False)
        module(x)[0].sin().sum().backward()
        assert module.weight_hh_l0.grad is None
    for p, q in zip(theirs.parameters(), ours.parameters(), strict=True):
        assert p.grad is q.grad is None or torch.allclose(p.grad, q.grad, rtol=1e-10)
    x.grad = None
    ours.requires_grad_(False)
    ours(x)[0].sum().backward()
    assert x.grad is not None
    assert not ours(x.detach())[0].requires_grad
    assert ours.requires_grad_()(x.detach())[0].requires_grad


def test_without_gradients_there_is_no_graph():
    module = made(bt, "lstm", 3, 5)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    expected = module(x)[0].detach()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            y, (h, c) = module(x)
        assert y.grad_fn is h.grad_fn is c.grad_fn is None
        assert torch.equal(y, expected)


def test_memory_is_shared_and_outputs_are_not():
    module = made(bt, "tanh", 3, 5)
    assert in_place(module)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    before = module(x)[0].detach()
    kept = before.clone()
    with torch.no_grad():
        module.bias_ih_l0.add_(0.5)
    assert not torch.equal(module(x)[0], before)
    assert torch.equal(before, kept)


def test_changes_before_backward_are_errors():
    module = made(bt, "tanh", 3, 5)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    for changed in (x, module.weight_hh_l0):
        y = module(x)[0]
        with torch.no_grad():
            changed.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()
    y = module(x)[0]
    y.add_(1)  # the output is the user's
    y.sum().backward()


def test_backward_twice():
    module = made(bt, "gru", 2, 3)
    x = torch.randn(4, 2, 2, dtype=torch.float64, requires_grad=True)
    y = module(x)[0].sum()
    y.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.backward()
    (dx,) = torch.autograd.grad(module(x)[0].sum(), x, create_graph=True)
    assert dx.requires_grad
    close(dx, torch.autograd.grad(module(x)[0].sum(), x)[0])


@pytest.mark.parametrize("outputs", [(0,), (1,), (2,), (0, 2)], ids=str)
def test_losses_of_some_outputs(outputs):
    theirs, ours = pair("lstm", 3, 5)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    for module in (theirs, ours):
        y, state = module(x)
        sum(((y, *state)[i] ** 2).sum() for i in outputs).backward()
    for p, q in zip(theirs.parameters(), ours.parameters(), strict=True):
        close(q.grad, p.grad)


def test_copies_pickles_and_files(tmp_path):
    module = made(bt, "lstm", 3, 5, 2, batch_first=True)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    expected = module(x)[0]
    torch.save(module, tmp_path / "module.pt")
    copies = [copy.deepcopy(module), pickle.loads(pickle.dumps(module)),
              torch.load(tmp_path / "module.pt", weights_only=False)]  # fmt: skip
    assert in_place(copies[0])
    for again in copies:
        assert torch.equal(again(x)[0], expected)
        with torch.no_grad():
            again.weight_hh_l0.zero_()
        assert not torch.equal(again(x)[0], expected)
    assert torch.equal(module(x)[0], expected)
    shallow = copy.copy(module)  # shares the parameters; both see what becomes of them
    with torch.no_grad():
        module.weight_hh_l0.zero_()
    assert torch.equal(shallow(x)[0], module(x)[0])
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    made(torch.nn, "lstm", 3, 5, 2).load_state_dict(torch.load(file, weights_only=True))


def test_conversion_to_another_dtype():
    module = bt.GRU(3, 5)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    x = torch.randn(4, 2, 3)
    single = module(x)[0]
    y32 = module(x)[0]
    module.double()
    assert in_place(module)
    double = module(x.double())[0]
    assert double.dtype == torch.float64
    close(double.float(), single, 1e-6)
    double.sum().backward()
    before = module.bias_hh_l0.detach().clone()
    optimizer.step()
    assert not torch.equal(module.bias_hh_l0, before)
    assert torch.isfinite(y32).all()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    for bad, error, text in (
        (lambda: module.half(), TypeError, "torch.float32 or torch.float64, got torch.float16"),
        (lambda: module.to(torch.bfloat16), TypeError, "got torch.bfloat16"),
    ):
        with pytest.raises(error, match=text):
            bad()
        for name, value in module.state_dict().items():
            assert torch.equal(value, state[name])  # nothing was changed
    assert module.to("cpu").float() is module


def test_parameters_that_lie_elsewhere():
    theirs, ours = pair("gru", 3, 5)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    other = {name: value + 0.1 for name, value in theirs.state_dict().items()}
    leaves = {name: value.requires_grad_() for name, value in other.items()}
    grads = []
    for module in (theirs, ours):
        y = torch.func.functional_call(module, leaves, (x,))[0]
        grads.append(torch.autograd.grad(y.sin().sum(), list(leaves.values())))
    for a, b in zip(*grads, strict=True):
        close(b, a)
    compared(theirs, ours, x)  # its own parameters are what they were

    for module in (theirs, ours):
        torch.nn.utils.parametrizations.weight_norm(module, "weight_hh_l0")
        module.zero_grad()
        module(x)[0].sum().backward()
    for (name, p), (_, q) in zip(theirs.named_parameters(), ours.named_parameters(), strict=True):
        close(q.grad, p.grad)
        assert q.grad is not None, name

    shared = made(bt, "gru", 3, 5)
    shared.share_memory()
    assert all(p.is_shared() for p in shared.parameters())
    close(shared(x)[0], made(torch.nn, "gru", 3, 5)(x)[0])
    assert all(p.is_shared() for p in shared.parameters())

    a, b = made(bt, "gru", 3, 5), made(bt, "gru", 3, 5, seed=1)
    b.weight_hh_l0 = a.weight_hh_l0  # tied
    (a(x)[0].sum() + b(x)[0].sum()).backward()
    with torch.no_grad():
        a.weight_hh_l0.add_(1)
    untied = made(torch.nn, "gru", 3, 5)
    untied.load_state_dict(b.state_dict())
    close(b(x)[0], untied(x)[0])


def test_dropout_follows_training_and_torch_seed():
    module = made(bt, "lstm", 3, 32, 2, dropout=0.5)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    with torch.no_grad():
        assert not torch.equal(module(x)[0], module(x)[0])  # as torch: also where no gradient is asked for
        torch.manual_seed(5)
        first = module(x)[0]
        torch.manual_seed(5)
        assert torch.equal(module(x)[0], first)
    module.eval()
    plain = made(torch.nn, "lstm", 3, 32, 2)
    close(module(x)[0], plain(x)[0])
    module.train()

    def call(x):
        torch.manual_seed(6)
        return module(x)[0]

    assert torch.autograd.gradcheck(call, x.requires_grad_())


def test_threads_are_torchs():
    module = bt.GRU(3, 5)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        module(torch.randn(4, 2, 3))
        assert module._layout.network.threads == 1
    finally:
        torch.set_num_threads(threads)


def test_the_memory_of_a_tape_is_used_again():
    module = bt.LSTM(3, 64)
    x = torch.randn(50, 8, 3)
    y = module(x)[0]
    place = y.grad_fn.saved_tensors[1].data_ptr()
    y.sum().backward()
    again = module(x)[0]  # while the first graph is still there, without its tape
    assert again.grad_fn.saved_tensors[1].data_ptr() == place
    other = module(x)[0]
    assert other.grad_fn.saved_tensors[1].data_ptr() != place


# ---- calls that torch.nn computes, and what may be done to a module; tests/torch_random.py mixes all of it


def test_random_modules_beside_torchs():
    results = [(*torch_random.compared(seed), seed) for seed in range(40)]
    assert [result for result in results if result[0] == "difference"] == []
    assert sum(result[0] == "equal" for result in results) > 30


def both(kind, call, *args, **options):
    """The same call with a module of torch.nn and of bptt.torch: its tensors must agree."""
    theirs, ours = (call(module) for module in pair(kind, *(args or (3, 3, 2)), **options))
    for a, b in zip(ours, theirs, strict=True):
        close(a, b)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["batch", "batch_first", "packed", "unbatched"])
def test_second_derivatives(kind, form):
    x = torch.randn((4, 3) if form == "unbatched" else (4, 2, 3), dtype=torch.float64)
    hx = torch.randn((4, 3) if form == "unbatched" else (4, 4 if form == "batch_first" else 2, 3), dtype=torch.float64)

    def call(module):
        leaves = [x.clone().requires_grad_(), hx.clone().requires_grad_(), *module.parameters()]
        state = (leaves[1], leaves[1].cos()) if kind == "lstm" else leaves[1]
        input = pack(leaves[0], (2, 4), enforce_sorted=False) if form == "packed" else leaves[0]
        y, last = module(input, state)
        loss = y.data.sin().sum() + sum((part**2).sum() for part in parts(last))
        first = torch.autograd.grad(loss, leaves, create_graph=True)
        penalty = sum((grad**2).sum() for grad in first)
        second = torch.autograd.grad(penalty, leaves, create_graph=True)
        third = torch.autograd.grad(sum((grad**2).sum() for grad in second), leaves, retain_graph=True)
        (loss + penalty).backward(inputs=leaves[:3])
        return [*first, *second, *third, *(leaf.grad for leaf in leaves[:3])]

    both(kind, call, bidirectional=True, batch_first=form == "batch_first")


def test_second_derivatives_of_outputs_alone_and_of_tied_parameters():
    x = torch.randn(4, 2, 3, dtype=torch.float64)

    def call(module):
        module.weight_hh_l0 = module.weight_ih_l1 = module.weight_hh_l1
        params = list(module.parameters())
        first = torch.autograd.grad(module(x)[1].sin().sum(), params, create_graph=True)
        return torch.autograd.grad(sum((grad**2).sum() for grad in first), params)

    both("gru", call)


def test_second_derivatives_in_float32():
    """torch.nn.LSTM has none: oneDNN computes it."""
    module, x = made(bt, "lstm", 2, 3, dtype=torch.float32), torch.randn(4, 2, 2, requires_grad=True)
    results = []
    for dtype in (torch.float32, torch.float64):
        y = module.to(dtype)(x.to(dtype))[0].sin().sum()
        (first,) = torch.autograd.grad(y, x, create_graph=True)
        results.append(torch.autograd.grad((first**2).sum(), x)[0])
    close(*results, 1e-5)
    assert results[0].abs().max() > 0


@pytest.mark.parametrize("take", [
    lambda loss, p: torch.autograd.grad(loss, p, create_graph=True),
    lambda loss, p: loss.backward(create_graph=True),
    lambda loss, p: loss.backward(inputs=p, create_graph=True),
    lambda loss, p: torch.autograd.grad(loss, p, torch.ones(2, dtype=loss.dtype), is_grads_batched=True),
], ids=["grad", "backward", "inputs", "batched"])  # fmt: skip
def test_second_derivatives_through_dropout_are_errors(take):
    module = made(bt, "gru", 3, 4, 2, dropout=0.5)
    loss = module(torch.randn(4, 2, 3, dtype=torch.float64))[0].sum()
    with pytest.raises(RuntimeError, match=r"neither create_graph=True nor .* through dropout.* call eval\(\)"):
        take(loss, list(module.parameters()))
    loss.backward()  # once goes as ever


@pytest.mark.parametrize("kind", KINDS)
def test_batched_gradients(kind):
    x = torch.randn(4, 2, 3, dtype=torch.float64)

    def call(module):
        warnings.simplefilter("ignore")  # torch speaks of its speed
        leaf = x.clone().requires_grad_()
        y = module(leaf)[0].sum((1, 2))
        grads = torch.autograd.grad(y, leaf, torch.eye(4).double(), is_grads_batched=True, retain_graph=True)
        each = torch.func.vmap(lambda dy: torch.autograd.grad(y, leaf, dy, retain_graph=True)[0])(torch.eye(4).double())
        assert not grads[0].requires_grad
        return [*grads, each]

    with warnings.catch_warnings():
        both(kind, call)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch's own use of it
@pytest.mark.parametrize("kind", KINDS)
def test_forward_mode_and_transforms(kind):
    x, tangent = torch.randn(2, 4, 2, 3, dtype=torch.float64)

    def call(module):
        found = [*torch.func.jvp(lambda x: module(x)[0], (x,), (tangent,))]
        for mode in (torch.no_grad, torch.enable_grad):
            with forward_ad.dual_level(), mode():
                found.append(forward_ad.unpack_dual(module(forward_ad.make_dual(x, tangent))[0]).tangent)
        y = module(x.requires_grad_())[0]
        with forward_ad.dual_level():  # only backward is within
            dy = forward_ad.make_dual(torch.ones_like(y), y.detach())
            found += forward_ad.unpack_dual(torch.autograd.grad(y, x, dy)[0])
        params = dict(module.named_parameters())
        grads = torch.func.grad(lambda p: torch.func.functional_call(module, p, (x,))[0].sin().sum())(params)
        return [*found, *grads.values()]

    both(kind, call)


@pytest.mark.parametrize("kind", KINDS)
def test_traces(kind, tmp_path):
    x = torch.randn(4, 2, 3, dtype=torch.float64)

    def call(module):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trace = torch.jit.trace(module.eval(), x)
        y, state = trace(x.cos())
        with torch.no_grad():
            module.bias_hh_l0.add_(1)
        return [y, *parts(state), trace(x)[0]]

    both(kind, call)


def test_checkpointing_goes_forward_again():
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    module = made(bt, "lstm", 3, 4, 2, dropout=0.5)
    results = []
    for reentrant in (None, False, True):
        torch.manual_seed(3)
        leaf = x.clone().requires_grad_()
        if reentrant is None:
            y = module(leaf)[0]
        else:
            y = torch.utils.checkpoint.checkpoint(lambda x: module(x)[0], leaf, use_reentrant=reentrant)
        module.zero_grad()
        y.sin().sum().backward()
        results.append([y, leaf.grad, *(p.grad for p in module.parameters())])
    for result in results[1:]:
        for a, b in zip(result, results[0], strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape, options", [((4, 0, 3), {}), ((0, 4, 3), {"batch_first": True}),
                                            ((4, 2, 3), {"dropout": 1.0})], ids=str)  # fmt: skip
def test_empty_batches_and_dropout_of_everything(kind, shape, options):
    theirs, ours = pair(kind, 3, 5, 2, **options)
    compared(theirs, ours, torch.randn(shape, dtype=torch.float64))
    compared(theirs.eval(), ours.eval(), torch.randn(shape, dtype=torch.float64))


@pytest.mark.parametrize("kind", KINDS)
def test_autocast(kind):
    theirs, ours = pair(kind, 3, 5, 2, dtype=torch.float32)
    x, hx = torch.randn(4, 2, 3), torch.randn(2, 2, 5)
    hx = (hx, hx) if kind == "lstm" else hx
    half = tuple(h.bfloat16() for h in hx) if kind == "lstm" else hx.bfloat16()
    exact = theirs(x.bfloat16().float(), hx)[0]
    with torch.autocast("cpu"):
        for sequence in (x.bfloat16(), pack(x.bfloat16(), (4, 4))):
            for state in (None, half):
                expected, found = theirs(sequence, state), ours(sequence, state)
                for a, b in zip(
                    [found[0].data, *parts(found[1])], [expected[0].data, *parts(expected[1])], strict=True
                ):
                    assert a.dtype == b.dtype == torch.bfloat16
                    close(a, b, 0.05)
        leaf = x.bfloat16().requires_grad_()
        close(ours(leaf, hx)[0].float(), exact, 0.01)  # computed in float32
        ours(leaf, hx)[0].sum().backward()
        assert leaf.grad.dtype == torch.bfloat16
        assert ours.weight_hh_l0.grad.dtype == torch.float32
        with pytest.raises(TypeError, match="input must be of torch"):
            ours(x.double())
    with pytest.raises(TypeError, match="input must be of torch"):
        ours(x.bfloat16())


def test_negated_views_of_complex_tensors():
    theirs, ours = pair("gru", 3, 5)
    x = torch.complex(*torch.randn(2, 4, 2, 3, dtype=torch.float64)).conj().imag
    assert x.is_neg()
    close(ours(x)[0], theirs(x)[0])


def halved(module, name):
    p = getattr(module, name)
    setattr(module, name, torch.nn.Parameter(p.detach() / 2))


LAYOUTS = {
    "transposed": lambda module, p: setattr(p, "data", p.data.t()),
    "expanded": lambda module, p: setattr(p, "data", p.data[:1].expand(p.shape)),
    "expanded bias": lambda module, p: setattr(module.bias_ih_l1, "data", module.bias_ih_l1.data[:1].expand(5)),
    "strided": lambda module, p: setattr(p, "data", torch.randn(10, 10, dtype=torch.float64)[::2, 5:]),
    "exchanged": lambda module, p: module.weight_ih_l1.data.set_(p.data.flip(0)),
    "replaced": lambda module, p: halved(module, "weight_hh_l0"),
    "tied": lambda module, p: setattr(module, "weight_ih_l1", p),
    "tied memory": lambda module, p: setattr(module.weight_ih_l1, "data", p.data),
    "negated": lambda module, p: setattr(module, "weight_hh_l0", torch.nn.Parameter(-p.detach(), requires_grad=False)),
}
AFTERWARDS = {
    "nothing": lambda module: module,
    "deepcopy": copy.deepcopy,
    "pickle": lambda module: pickle.loads(pickle.dumps(module)),
    "double": lambda module: module.float().double(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("afterwards", AFTERWARDS)
def test_parameters_in_any_layout(layout, afterwards):
    x = torch.randn(4, 2, 5, dtype=torch.float64)
    theirs, ours = pair("tanh", 5, 5, 2)
    modules = []
    for module in (theirs, ours):
        module(x)  # so that bptt knows where they lay
        torch.manual_seed(1)
        LAYOUTS[layout](module, module.weight_hh_l0)
        modules.append(AFTERWARDS[afterwards](module))
    compared(*modules, x)
    for module in modules:
        with torch.no_grad():
            module.bias_hh_l1.add_(1)
            if layout != "expanded":
                module.weight_hh_l0.copy_(module.weight_hh_l0[0].expand(5, 5).clone())
            if layout.startswith("tied"):
                shares = module.weight_hh_l0.data_ptr() == module.weight_ih_l1.data_ptr()
                assert shares == (modules[0].weight_hh_l0.data_ptr() == modules[0].weight_ih_l1.data_ptr())
    compared(*modules, x)


def test_memory_that_the_user_chose_stays_in_use():
    """A flat vector, an assigned state dict, views: what is written there is what the module computes with."""
    x = torch.randn(4, 2, 3, dtype=torch.float64)

    def vector(module):
        vector = torch.nn.utils.parameters_to_vector(module.parameters()).detach()
        torch.nn.utils.vector_to_parameters(vector, module.parameters())
        return vector, module

    def assigned(module):
        state = {name: value.clone() for name, value in module.state_dict().items()}
        module.load_state_dict(state, assign=True)
        return state["weight_hh_l0"], module

    def view(module):
        return module.weight_hh_l0.detach(), module

    def copied(module):
        return module.weight_hh_l0.data, copy.copy(module)

    for chosen in (vector, assigned, view, copied):
        results = []
        for module in pair("lstm", 3, 5, 2):
            memory, again = chosen(module)
            again.flatten_parameters()
            again.load_state_dict({name: value / 2 for name, value in again.state_dict().items()})
            again.dropout, again.batch_first = 0.0, True  # another network of bptt's
            again.double()
            found = [again(x)[0]]
            memory.mul_(0.5)
            results.append([*found, again(x)[0], memory])
        for a, b in zip(*results, strict=True):
            close(b, a)


def test_new_memory_becomes_one_buffer(tmp_path):
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    module = made(bt, "gru", 3, 5, 2)
    old = module.weight_hh_l0.detach()
    expected, state = module(x)[0], {name: value.clone() for name, value in module.state_dict().items()}
    torch.save(module, tmp_path / "module.pt")
    for make in (
        lambda: module.float().double(),
        lambda: copy.deepcopy(module),
        lambda: copy.deepcopy(torch.load(tmp_path / "module.pt", weights_only=False)),
        lambda: module.to("meta").to_empty(device="cpu"),
        lambda: made(bt, "gru", 3, 5, 2, device="meta").to_empty(device="cpu"),
    ):
        again = make()
        with torch.no_grad():
            old.fill_(7)  # no longer the module's
        again.load_state_dict(state)
        assert in_place(again)
        close(again(x)[0], expected)
        assert (old == 7).all()


def test_the_buffer_outlasts_calls_with_other_parameters():
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    theirs, ours = pair("gru", 3, 5)
    single = {name: value.float() for name, value in theirs.state_dict().items()}
    close(torch.func.functional_call(ours, single, (x.float(),))[0].double(), theirs(x)[0], 1e-5)
    ours.hidden_size = 4
    with pytest.raises(ValueError, match=r"weight_ih_l0 must have shape \(12, 3\), got \(15, 3\)"):
        ours(x)
    ours.hidden_size = 5
    compared(theirs, ours, x)
    assert in_place(ours)


def test_memory_that_moves_between_forward_and_backward():
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    module = made(bt, "gru", 3, 5)
    expected = torch.autograd.grad(module(x)[0].sin().sum(), list(module.parameters()))
    loss = module(x)[0].sin().sum()
    module.share_memory()
    for a, b in zip(torch.autograd.grad(loss, list(module.parameters())), expected, strict=True):
        close(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_attributes_count_at_the_call(kind):
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    theirs, ours = pair(kind, 3, 5, 2)
    place = ours.weight_hh_l0.data_ptr()
    for module in (theirs, ours):
        module.batch_first = True
    compared(theirs, ours, x)
    if kind in ("tanh", "relu"):
        theirs.mode = ours.mode = "RNN_TANH" if kind == "relu" else "RNN_RELU"
        compared(theirs, ours, x)
    ours.dropout = 0.5
    y = ours(x)[0]
    assert not torch.equal(y, ours(x)[0])
    ours.eval()
    compared(theirs, ours, x)
    assert ours.weight_hh_l0.data_ptr() == place  # nothing was moved
    assert in_place(ours)


@pytest.mark.parametrize("change, error, text", [
    ({"num_layers": 1}, ValueError, "num_layers=1, .* must be as when the module was made: .*weight_ih_l0, "),
    ({"num_layers": 3}, ValueError, "num_layers=3, .* must be as when the module was made"),
    ({"bias": False}, ValueError, "bias=False must be as when"),
    ({"bidirectional": True}, ValueError, "bidirectional=True .* must be as when"),
    ({"hidden_size": 6}, ValueError, r"weight_ih_l0 must have shape \(24, 3\), got \(20, 3\)"),
    ({"input_size": 2}, ValueError, r"weight_ih_l0 must have shape \(20, 2\), got \(20, 3\)"),
    ({"proj_size": 2}, ValueError, "proj_size must be 0"),
    ({"dropout": 2.0}, ValueError, r"dropout must be in \[0, 1\), got 2$"),
    ({"dropout": "half"}, TypeError, "dropout must be a number"),
    ({"weight_hh_l0": None}, TypeError, "weight_hh_l0 must be a torch.Tensor, got NoneType"),
    ({"bias_ih_l0": torch.nn.Parameter(torch.ones(1).double())}, ValueError, r"bias_ih_l0 must have shape \(20,\)"),
    ({"bias_hh_l1": torch.nn.Parameter(torch.ones(1, 20).double())}, ValueError, r"bias_hh_l1 .* got \(1, 20\)"),
    ({"weight_hh_l1": torch.nn.Parameter(torch.ones(20, 1).double())}, ValueError, r"weight_hh_l1 .* got \(20, 1\)"),
    ({"weight_hh_l1": torch.nn.Parameter(torch.ones(20, 5))}, TypeError,
     "must have one dtype, torch.float64, got torch.float32 for weight_hh_l1"),
    ({"bias_hh_l1": torch.nn.Parameter(torch.ones(20, dtype=torch.int64), requires_grad=False)}, TypeError,
     "must have one dtype, torch.float64, got torch.int64 for bias_hh_l1"),
    ({"bias_hh_l1": torch.nn.Parameter(torch.ones(20, device="meta").double())}, ValueError, "bias_hh_l1 on device"),
], ids=str)  # fmt: skip
def test_modules_that_are_no_network(change, error, text):
    module, x = made(bt, "lstm", 3, 5, 2), torch.randn(4, 2, 3, dtype=torch.float64)
    expected, before = module(x)[0], {name: getattr(module, name) for name in change if name != "proj_size"}
    for name, value in change.items():
        setattr(module, name, value)
    with pytest.raises(error, match=text):
        module(x)
    if "weight_hh_l0" not in change:
        copy.deepcopy(module)
    for name, value in ({"proj_size": 0} | before).items():
        setattr(module, name, value)
    assert torch.equal(module(x)[0], expected)


def test_a_mode_of_another_class():
    module = made(bt, "tanh", 3, 5)
    module.mode = "GRU"
    with pytest.raises(ValueError, match="mode must be RNN_TANH or RNN_RELU, got 'GRU'"):
        module(torch.randn(4, 2, 3, dtype=torch.float64))


def test_parametrizations_and_pruning_as_in_torch():
    x = torch.randn(4, 2, 3, dtype=torch.float64)

    def weight_norm(module):
        torch.nn.utils.parametrizations.weight_norm(module, "weight_hh_l0")
        return copy.deepcopy(module)

    def spectral_norm(module):  # which changes at every look at the weight
        torch.manual_seed(0)
        return torch.nn.utils.parametrizations.spectral_norm(module, "weight_hh_l1")

    def pruning(module):
        torch.manual_seed(0)
        torch.nn.utils.prune.random_unstructured(module, "weight_ih_l1", 0.5)
        return module

    for change in (weight_norm, spectral_norm, pruning):
        compared(*map(change, pair("lstm", 3, 5, 2)), x)


def zeros(*shape, **options):
    return torch.zeros(shape, **{"dtype": torch.float64} | options)


@pytest.mark.parametrize("arguments, error, text", [
    (([[1.0]],), TypeError, "input must be a torch.Tensor, got list"),
    ((zeros(4, 2, 3).float(),), TypeError, r"input must be of torch.float64 on the CPU.* got torch.float32 on cpu"),
    ((zeros(4, 2, 3, device="meta"),), TypeError, "on the CPU.* on meta"),
    ((zeros(4, 2, 3).to_sparse(),), TypeError, "input must be a dense tensor, got a torch.sparse_coo one"),
    ((torch.nested.nested_tensor([zeros(4, 3)], layout=torch.jagged),), TypeError, "input must be .* a nested one"),
    ((zeros(4, 2, 3), (zeros(1, 2, 5), zeros(1, 2, 5).to_sparse())), TypeError, r"hx\[1\] must be a dense tensor"),
    ((zeros(3),), ValueError, r"input must have 2 or 3 axes, got shape \(3,\)"),
    ((torch.nn.utils.rnn.PackedSequence(zeros(3), torch.ones(3).long()),), ValueError, "data of input must have 2"),
    ((zeros(4, 2, 4),), ValueError, r"input must have shape .* I = 3 .* \(4, 2, 4\)"),
    ((zeros(0, 2, 3),), RuntimeError, "Expected sequence length to be larger than 0"),
    ((zeros(4, 2, 3), zeros(1, 2, 5)), TypeError, "hx must be the pair .* got Tensor"),
    ((zeros(4, 2, 3), (1, 2)), TypeError, r"hx\[0\] must be a torch.Tensor, got int"),
    ((zeros(4, 3), (zeros(1, 2, 5),) * 2), ValueError, r"hx\[0\] must have 2 axes, got shape \(1, 2, 5\)"),
    ((zeros(4, 2, 3), (zeros(1, 2, 5), zeros(1, 2, 6))), ValueError,
     r"hx\[1\] must have shape \(1,B,H\) = \(1, 2, 5\), got \(1, 2, 6\)"),
])  # fmt: skip
def test_bad_calls(arguments, error, text):
    with pytest.raises(error, match=text):
        made(bt, "lstm", 3, 5)(*arguments)


def test_bad_state_of_a_gru():
    with pytest.raises(TypeError, match=r"hx must be of torch.float64"):
        made(bt, "gru", 3, 5)(torch.zeros(4, 2, 3, dtype=torch.float64), torch.zeros(1, 2, 5))
    with pytest.raises(ValueError, match=r"hx must have shape \(1,B,H\)"):
        made(bt, "gru", 3, 5)(torch.zeros(4, 2, 3).double(), torch.zeros(2, 2, 5).double())


@pytest.mark.parametrize("make, error, text", [
    (lambda: bt.LSTM(3, 5, proj_size=2), ValueError, "proj_size must be 0, .* got 2"),
    (lambda: bt.LSTM(3, 5, proj_size=2, device="meta"), ValueError, "proj_size must be 0, .* got 2"),
    (lambda: bt.GRU(3, 5, device="meta")(zeros(4, 2, 3).float()), ValueError, "must be on the CPU, got .* device meta"),
    (lambda: bt.GRU(3, 5, dtype=torch.float16), TypeError, "torch.float32 or torch.float64, got torch.float16"),
    (lambda: bt.RNN(3, 5, nonlinearity="sigmoid"), ValueError, "nonlinearity"),
    (lambda: bt.RNN(3, 0), ValueError, "hidden_size must be greater than zero"),
])  # fmt: skip
def test_bad_modules(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_dropout_without_a_layer_to_act_on_warns_as_torch_does():
    with pytest.warns(UserWarning, match="non-zero dropout expects num_layers greater than 1"):
        bt.GRU(3, 5, dropout=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bt.GRU(3, 5, num_layers=2, dropout=0.5)


def test_the_import_of_bptt_leaves_frameworks_out():
    code = (
        "import sys, bptt; assert not {'torch', 'onnx', 'keras'} & set(sys.modules); "
        "import bptt.torch, torch; assert bptt.torch.torch is torch; assert torch.nn; "
        "assert issubclass(bptt.torch.LSTM, torch.nn.LSTM)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
