"""bptt.torch beside torch.nn: sequences that begin within a row, lengths, and the states after all steps."""

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
bt = pytest.importorskip("bptt.torch")

from test_torch import KINDS, close, made, pack, pad, pair, parts  # noqa: E402

T, B, I, H = 7, 4, 3, 5
LENGTHS = torch.tensor([3, 7, 5, 1])


def marks():
    """Resets of every kind: at the first step and the last, at two steps one after the other, where a row of
    LENGTHS has ended already, at once or later."""
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[[0, 2, 3, 6], [1, 1, 1, 1]] = True
    reset[[1, 3, 4, 5], [0, 0, 2, 3]] = True
    return reset


def hx_of(module):
    units = module.num_layers * (1 + module.bidirectional)
    h = torch.randn(units, B, H, dtype=torch.float64)
    return (h, h.cos()) if isinstance(module, torch.nn.LSTM) else h


# ---- the oracle: torch.nn in loops ---------------------------------------------------------------------------


def by_steps(module, x, hx, lengths=None, reset=None):
    """(output, h_n, states) of one direction, step by step: the state is multiplied by 1 - reset."""
    lengths = torch.full((x.shape[1],), len(x)) if lengths is None else lengths
    state, outputs, states = parts(hx), [], []
    for t in range(len(x)):
        inside = (t < lengths)[:, None]
        begins = torch.zeros(x.shape[1], 1) if reset is None else (reset[t][:, None] & inside)
        entering = [part * (1 - begins.double()) for part in state]
        y, after = module(x[t : t + 1], tuple(entering) if len(state) == 2 else entering[0])
        state = [torch.where(inside, new, old) for new, old in zip(parts(after), state, strict=True)]
        outputs.append(y[0] * inside)
        states.append([part * inside for part in state])
    every = [torch.stack(part) for part in zip(*states, strict=True)]
    return torch.stack(outputs), *(tuple(p) if len(p) == 2 else p[0] for p in (state, every))


def by_sequences(module, x, hx, lengths, reset):
    """(output, h_n) of two directions: each sequence within a row is a call of its own. The forward direction of the
    first begins with hx, the reverse direction of the last."""
    forward = (torch.arange(len(parts(hx)[0])) % 2 == 0)[:, None, None]
    outputs, rows = torch.zeros(*x.shape[:2], 2 * H, dtype=x.dtype), []
    for row in range(x.shape[1]):
        length, state = int(lengths[row]), [part[:, row : row + 1] for part in parts(hx)]
        if reset[0, row]:
            state = [torch.where(forward, 0, part) for part in state]
        ends = [*(t for t in range(1, length) if reset[t, row]), length]
        begins, last = [0, *ends[:-1]], [None] * len(state)
        for begin, end in zip(begins, ends, strict=True):
            known = torch.where(forward, torch.tensor(begin == 0), torch.tensor(end == length))
            entering = [torch.where(known, part, 0) for part in state]
            y, after = module(x[begin:end, row : row + 1], tuple(entering) if len(state) == 2 else entering[0])
            outputs = outputs.index_put((torch.arange(begin, end), torch.tensor(row)), y[:, 0])
            for i, part in enumerate(parts(after)):
                last[i] = part if begin == 0 else torch.where(forward, part, last[i])
        rows.append(last)
    state = [torch.cat(part, 1) for part in zip(*rows, strict=True)]
    return outputs, tuple(state) if len(state) == 2 else state[0]


def flat(results):
    return [part for result in results for part in parts(result)]


def loss_of(results):
    """A loss in which each number of the results has a weight of its own."""
    return sum(
        (part * torch.linspace(-1, 2, part.numel(), dtype=part.dtype).reshape(part.shape)).sum() for part in results
    )


def compared(theirs, ours, x, hx):
    """Results and all gradients of both, functions (x, hx) -> (output, h_n, ...) with a module, must agree."""
    found = []
    for module, call in (theirs, ours):
        module.zero_grad()
        leaves = [part.clone().requires_grad_() for part in (x, *parts(hx))]
        results = flat(call(leaves[0], tuple(leaves[1:]) if len(leaves) == 3 else leaves[1]))
        loss_of(results).backward()
        found.append([*results, *(leaf.grad for leaf in leaves), *(p.grad for p in module.parameters())])
    for a, b in zip(*found, strict=True):
        close(a, b)


def turned(array, batch_first):
    return array.transpose(0, 1) if batch_first else array


# ---- values and gradients ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"num_layers": 3, "batch_first": True}, {"num_layers": 2, "bias": False}],
                         ids=str)  # fmt: skip
@pytest.mark.parametrize("given", [("reset",), ("lengths",), ("reset", "lengths"), ()], ids=str)
def test_as_a_loop_over_steps(kind, options, given):
    theirs, ours = pair(kind, I, H, **options)
    batch_first, theirs.batch_first = ours.batch_first, False
    x, hx = torch.randn(T, B, I, dtype=torch.float64), hx_of(theirs)
    reset, lengths = marks() if "reset" in given else None, LENGTHS if "lengths" in given else None

    def call(x, hx):
        turned_reset = None if reset is None else turned(reset, batch_first)
        output, *states = ours(turned(x, batch_first), hx, reset=turned_reset, lengths=lengths, return_states=True)
        return turned(output, batch_first), *states

    compared((theirs, lambda x, hx: by_steps(theirs, x, hx, lengths, reset)), (ours, call), x, hx)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_layers", [1, 2])
def test_two_directions_as_calls_for_each_sequence(kind, num_layers):
    theirs, ours = pair(kind, I, H, num_layers, bidirectional=True)
    x, hx, reset = torch.randn(T, B, I, dtype=torch.float64), hx_of(theirs), marks()
    compared((theirs, lambda x, hx: by_sequences(theirs, x, hx, LENGTHS, reset)),
             (ours, lambda x, hx: ours(x, hx, lengths=LENGTHS, reset=reset)), x, hx)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_states_of_two_directions(kind):
    """h of the last layer is the output; at a row's ends they are h_n, c too."""
    module = made(bt, kind, I, H, 2, bidirectional=True)
    output, last, states = module(torch.randn(T, B, I).double(), lengths=LENGTHS, return_states=True)
    for part, final in zip(parts(states), parts(last), strict=True):
        assert part.shape == (T, 4, B, H)
        for row, length in enumerate(LENGTHS):
            assert torch.equal(part[length - 1, ::2, row], final[::2, row])
            assert torch.equal(part[0, 1::2, row], final[1::2, row])
            assert not part[length:, :, row].any()
    assert torch.equal(output, parts(states)[0][:, 2:].transpose(1, 2).flatten(2))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_states_alone_against_finite_differences(kind):
    module = made(bt, kind, 2, 3, 2)
    x = torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True)
    states = [torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True) for _ in range(1 + (kind == "lstm"))]
    reset = torch.tensor([[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 1]]).bool()

    def call(x, *hx):
        results = module(x, hx[: len(states)] if kind == "lstm" else hx[0], lengths=[3, 4, 1], reset=reset,
                         return_states=True)  # fmt: skip
        return parts(results[2])

    assert torch.autograd.gradcheck(call, (x, *states, *module.parameters()))
    if kind == "lstm":  # the loss reads one part and the other has no gradient
        assert torch.autograd.gradcheck(lambda *given: call(*given)[0], (x, *states, *module.parameters()))
        assert torch.autograd.gradcheck(lambda *given: call(*given)[1], (x, *states, *module.parameters()))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_lengths_as_in_a_packed_sequence(batch_first, bidirectional):
    theirs, ours = pair("lstm", I, H, 2, batch_first=batch_first, bidirectional=bidirectional)
    x, hx = turned(torch.randn(T, B, I, dtype=torch.float64), batch_first), hx_of(theirs)

    def packed(x, hx):
        output, last = theirs(pack(x, LENGTHS, batch_first, enforce_sorted=False), hx)
        return pad(output, batch_first, total_length=T)[0], last

    compared((theirs, packed), (ours, lambda x, hx: ours(x, hx, lengths=LENGTHS)), x, hx)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_without_an_axis_for_rows(kind):
    module = made(bt, kind, I, H, 2)
    x, reset = torch.randn(T, I).double().requires_grad_(), marks()[:, 1]
    alone = module(x, lengths=[6], reset=reset, return_states=True)
    row = module(x[:, None], lengths=[6], reset=reset[:, None], return_states=True)
    count = 2 if kind == "lstm" else 1
    shapes = [(T, H), *[(2, H)] * count, *[(T, 2, H)] * count]
    for a, b, shape in zip(flat(alone), flat(row), shapes, strict=True):
        assert a.shape == shape
        assert torch.equal(a, b.squeeze(-2))
    (dx,), (expected,) = (torch.autograd.grad(loss_of(flat(results)), x) for results in (alone, row))
    assert torch.equal(dx, expected)


@pytest.mark.parametrize("inputs", [{"one_hot": True}, {"num_embeddings": 9, "padding_idx": 0}], ids=str)
def test_integers(inputs):
    module = made(bt, "gru", I, H, **inputs)
    tokens = torch.randint(I, (T, B))
    vectors = module._vectors(tokens).detach()
    plain = made(bt, "gru", I, H)
    plain.load_state_dict({name: value for name, value in module.state_dict().items() if name != "embedding"})
    tokens[LENGTHS[0] :, 0] = 99  # not read
    for a, b in zip(flat(module(tokens, lengths=LENGTHS, reset=marks(), return_states=True)),
                    flat(plain(vectors, lengths=LENGTHS, reset=marks(), return_states=True)), strict=True):  # fmt: skip
        close(a, b)
    tokens[0, 2] = 9
    with pytest.raises(ValueError, match=r"input .* 9 "):
        module(tokens, lengths=LENGTHS)


# ---- what users do with them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_graph(kind):
    module = made(bt, kind, I, H, 2, dtype=torch.float32)
    x, given = torch.randn(T, B, I), {"lengths": LENGTHS, "reset": marks(), "return_states": True}
    expected = flat(module(x, **given))
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found = flat(module(x, **given))
        for a, b in zip(found, expected, strict=True):
            assert not a.requires_grad
            assert torch.equal(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_goes_on_where_it_was(kind):
    """The second half from the states of the first: the same outputs and, through the states, the same gradients."""
    module = made(bt, kind, I, H, 2)
    x, reset = torch.randn(T, B, I).double(), marks()

    def whole(x, hx):
        return module(x, hx, reset=reset)

    def halves(x, hx):
        first, _, states = module(x[:5], hx, reset=reset[:5], return_states=True)
        at = tuple(part[3] for part in states) if kind == "lstm" else states[3]
        second, last = module(x[4:], at, reset=reset[4:])
        return torch.cat([first[:4], second]), last

    compared((module, whole), (module, halves), x, hx_of(module))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_crosses_a_reset(kind):
    module = made(bt, kind, I, H, 2)
    hx = [torch.full_like(part, torch.nan).requires_grad_() for part in parts(hx_of(module))]
    x, reset = torch.randn(T, B, I).double().requires_grad_(), torch.zeros(T, B, dtype=torch.bool)
    reset[[0, 4]] = True
    output, last, states = module(x, tuple(hx) if kind == "lstm" else hx[0], reset=reset, return_states=True)
    assert torch.equal(output[:4], module(x[:4])[0])
    assert torch.equal(output[4:], module(x[4:])[0])
    loss_of([output[4:], *parts(last), *(part[4:] for part in parts(states))]).backward()
    assert not any(part.grad.any() for part in hx)
    assert not x.grad[:4].any()
    assert x.grad[4:].all()
    assert all(p.grad.isfinite().all() for p in module.parameters())


def test_arguments_are_read_at_the_call():
    """What a buffer of a rollout holds later does not matter, neither to backward nor to second derivatives."""
    module = made(bt, "lstm", I, H)
    x = torch.randn(T, B, I).double().requires_grad_()
    grads = []
    for later in (False, True):
        reset, lengths = marks(), LENGTHS.clone()
        y = module(x, reset=reset, lengths=lengths)[0].sin().sum()
        if later:
            reset.logical_not_()
            lengths.fill_(1)
        (dx,) = torch.autograd.grad(y, x, create_graph=True)
        grads.append([dx, *torch.autograd.grad(dx.sin().sum(), x)])
    for a, b in zip(*grads, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("form", [torch.uint8, torch.int64, np.bool_, list])
def test_forms_of_marks(form):
    module, x = made(bt, "gru", I, H), torch.randn(T, B, I).double()
    reset, lengths = marks(), LENGTHS
    if isinstance(form, torch.dtype):
        given, rows = reset.to(form), lengths.to(torch.int32)
    elif form is list:
        given, rows = reset.tolist(), lengths.tolist()
    else:
        given, rows = reset.numpy(), lengths.numpy().astype(np.uint8)
    expected = module(x, reset=reset, lengths=lengths)[0]
    assert torch.equal(module(x, reset=given, lengths=rows)[0], expected)
    assert torch.equal(module(x, reset=reset[:, :, None].expand(T, B, 2)[..., 1], lengths=lengths)[0], expected)


def test_dropout_between_layers_has_the_masks_of_a_call_without_resets():
    module = made(bt, "lstm", I, H, 2, dropout=0.5)
    x, results = torch.randn(T, B, I).double(), []
    for given in ({}, {"reset": torch.zeros(T, B, dtype=torch.bool)}, {"reset": marks()}):
        torch.manual_seed(1)
        results.append(module(x, **given)[0])
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0][0], results[2][0])
    assert not torch.equal(results[0], results[2])


def test_autocast_gives_states_of_the_inputs_type():
    module, x = made(bt, "lstm", I, H, dtype=torch.float32), torch.randn(T, B, I).bfloat16()
    with torch.autocast("cpu"):
        results = flat(module(x, reset=marks(), return_states=True))
    assert {part.dtype for part in results} == {torch.bfloat16}


# ---- what torch computes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", [("reset",), ("lengths",), ("reset", "lengths")], ids=str)
def test_second_derivatives(kind, given):
    theirs, ours = pair(kind, I, H, 2)
    x, hx = torch.randn(T, B, I, dtype=torch.float64), hx_of(theirs)
    reset, lengths = marks() if "reset" in given else None, LENGTHS if "lengths" in given else None

    def penalty(call, module):
        def second(x, hx):
            results = flat(call(x, hx))
            return torch.autograd.grad(loss_of([part.sin() for part in results]), (x, *parts(hx), *module.parameters()),
                                       create_graph=True)  # fmt: skip

        return module, second

    def ourselves(x, hx):
        return ours(x, hx, lengths=lengths, reset=reset, return_states=True)

    compared(penalty(lambda x, hx: by_steps(theirs, x, hx, lengths, reset), theirs), penalty(ourselves, ours), x, hx)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch's own use of it
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2, "batch_first": True},
                                     {"num_layers": 2, "bias": False}], ids=str)  # fmt: skip
def test_transforms_give_what_a_call_gives(kind, options):
    module = made(bt, kind, I, H, **options)
    batch_first, hx = module.batch_first, hx_of(module)
    x, tangent = (turned(torch.randn(T, B, I).double(), batch_first) for _ in range(2))
    given = {"reset": turned(marks(), batch_first), "lengths": LENGTHS, "return_states": True}
    leaf = x.clone().requires_grad_()
    expected = flat(module(leaf, hx, **given))

    rows = torch.func.vmap(lambda x: tuple(flat(module(x, hx, **given))))(torch.stack([x, x.cos()]))
    for a, b, c in zip(rows, expected, flat(module(x.cos(), hx, **given)), strict=True):
        close(a[0], b)
        close(a[1], c)
    params = dict(module.named_parameters())
    grads = torch.func.grad(lambda p: loss_of(flat(torch.func.functional_call(module, p, (x, hx), given))))(params)
    for a, b in zip(grads.values(), torch.autograd.grad(loss_of(expected), params.values()), strict=True):
        close(a, b)
    values, slope = torch.func.jvp(lambda x: loss_of(flat(module(x, hx, **given))), (x,), (tangent,))
    (dx,) = torch.autograd.grad(loss_of(flat(module(leaf, hx, **given))), leaf)
    close(values, loss_of(expected))
    close(slope, (dx * tangent).sum())


def test_lengths_may_be_what_is_mapped_over():
    module, x = made(bt, "lstm", I, H), torch.randn(T, B, I).double()
    each = torch.stack([LENGTHS, LENGTHS.sort(descending=True)[0]])
    found = torch.func.vmap(lambda lengths: module(x, lengths=lengths)[0])(each)
    for a, lengths in zip(found, each, strict=True):
        close(a, module(x, lengths=lengths)[0])


def test_resets_may_be_what_is_mapped_over():
    module = made(bt, "lstm", I, H)
    x, reset = torch.randn(T, B, I).double(), torch.stack([marks(), ~marks()])
    found = torch.func.vmap(lambda reset: module(x, reset=reset)[0])(reset)
    for a, each in zip(found, reset, strict=True):
        close(a, module(x, reset=each)[0])


def test_batched_gradients():
    module = made(bt, "lstm", I, H)
    x = torch.randn(T, B, I).double().requires_grad_()
    output, _, (_, c) = module(x, reset=marks(), return_states=True)
    y = torch.stack([output.sum(), c.sin().sum()])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch speaks of its speed
        (found,) = torch.autograd.grad(y, x, torch.eye(2).double(), is_grads_batched=True, retain_graph=True)
    for a, one in zip(found, y, strict=True):
        close(a, torch.autograd.grad(one, x, retain_graph=True)[0])


class Call(torch.nn.Module):
    """A module within a model that hands marks on."""

    def __init__(self):
        super().__init__()
        self.module = made(bt, "lstm", I, H, 2, dropout=0.3).eval()

    def forward(self, x, lengths, reset=None):
        return self.module(x, lengths=lengths, reset=reset)[0]


def test_traces():
    call, x, falling = Call(), torch.randn(T, B, I).double(), LENGTHS.sort(descending=True)[0]
    for example, given in (((falling,), (LENGTHS,)), ((falling, ~marks()), (LENGTHS, marks()))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about itself
            trace = torch.jit.trace(call, (x.cos(), *example))
        close(trace(x, *given), call(x, *given))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch about itself
@pytest.mark.parametrize("whole", [False, True])
def test_compiled_calls(whole):
    """torch.compile leaves recurrent modules to Python, unless it is told to look into them."""
    call, x = Call(), torch.randn(T, B, I).double()
    with torch._dynamo.config.patch(allow_rnn=whole):
        found = torch.compile(call, backend="eager", fullgraph=whole)(x, LENGTHS, marks())
    close(found, call(x, LENGTHS, marks()))


@pytest.mark.parametrize("kind", KINDS)
def test_empty_batches_and_dropout_of_everything(kind):
    module = made(bt, kind, I, H, 2)
    output, last, states = module(torch.zeros(T, 0, I).double(), reset=torch.zeros(T, 0).bool(), return_states=True)
    assert [output.shape, *(p.shape for p in parts(last)), parts(states)[0].shape] == (
        [(T, 0, H), *[(2, 0, H)] * len(parts(last)), (T, 2, 0, H)]
    )
    module.dropout = 1.0
    y = module(torch.randn(T, B, I).double(), reset=marks())[0]
    assert torch.equal(y, module(torch.zeros(T, B, I).double(), reset=marks())[0])  # only the biases get through


# ---- bad arguments -------------------------------------------------------------------------------------------


def zeros(*shape, dtype=torch.float64):
    return torch.zeros(shape, dtype=dtype)


@pytest.mark.parametrize("given, error, text", [
    ({"reset": zeros(T, B)}, TypeError, "reset must be of bools on the CPU, got torch.float64 on cpu"),
    ({"reset": zeros(T, B).bfloat16()}, TypeError, "reset must be of bools .* got torch.bfloat16"),
    ({"reset": np.full((T, B), np.nan)}, TypeError, "reset must be an array of bools, got .*float64"),
    ({"reset": zeros(T, B, dtype=torch.bool).to("meta")}, TypeError, "on the CPU, got torch.bool on meta"),
    ({"reset": zeros(T, B, dtype=torch.bool).to_sparse()}, TypeError, "reset must be a dense tensor"),
    ({"reset": zeros(B, T, dtype=torch.bool)}, ValueError, r"reset must have shape \(T,B\) = \(7, 4\), got \(4, 7\)"),
    ({"reset": zeros(T, dtype=torch.bool)}, ValueError, r"reset must have shape \(T,B\) = \(7, 4\), got \(7,\)"),
    ({"reset": zeros(T, B, 1, dtype=torch.bool)}, ValueError, r"reset must have 1 or 2 axes, got shape \(7, 4, 1\)"),
    ({"reset": "abc"}, TypeError, "reset must be an array of bools, got str"),
    ({"reset": True}, ValueError, r"reset must have shape \(T,B\)"),
    ({"lengths": zeros(B)}, TypeError, "lengths must be of integers on the CPU, got torch.float64"),
    ({"lengths": [1.0] * B}, TypeError, "lengths must be an array of integers, got list"),
    ({"lengths": [True] * B}, TypeError, "lengths must be an array of integers, got list"),
    ({"lengths": [1, 2, 3]}, ValueError, r"lengths must have shape \(B,\) = \(4,\), got \(3,\)"),
    ({"lengths": torch.ones(1, B, dtype=torch.int64)}, ValueError, r"lengths must have shape \(B,\) = \(4,\)"),
    ({"lengths": [1, 2, 3, 8]}, ValueError, r"lengths must be in 1\.\.7, got 1\.\.8"),
    ({"lengths": [0, 2, 3, 7]}, ValueError, r"lengths must be in 1\.\.7, got 0\.\.7"),
    ({"lengths": [-1, 2, 3, 7]}, ValueError, r"lengths must be in 1\.\.7, got -1\.\.7"),
    ({"return_states": "yes"}, TypeError, "return_states must be .* got 'yes'"),
    ({"return_states": None}, TypeError, "return_states must be .* got None"),
], ids=str)  # fmt: skip
def test_bad_marks(given, error, text):
    module = made(bt, "lstm", I, H)
    x = torch.randn(T, B, I).double()
    expected = module(x)[0]
    for mode in (torch.enable_grad, torch.no_grad):
        with mode(), pytest.raises(error, match=text):
            module(x, **given)
    assert torch.equal(module(x)[0], expected)


@pytest.mark.parametrize("given, text", [
    ({"reset": zeros(T, B)}, "reset must be of bools on the CPU, got torch.float64 on cpu"),
    ({"lengths": zeros(B)}, "lengths must be of integers on the CPU, got torch.float64"),
], ids=str)  # fmt: skip
def test_bad_marks_of_calls_that_torch_computes(given, text):
    module = made(bt, "lstm", I, H, 2, dropout=1.0)
    with pytest.raises(TypeError, match=text):
        module(torch.randn(T, B, I).double(), **given)


def test_bad_marks_of_other_layouts():
    x = torch.randn(B, T, I).double()
    with pytest.raises(ValueError, match=r"reset must have shape \(B,T\) = \(4, 7\), got \(7, 4\)"):
        made(bt, "gru", I, H, batch_first=True)(x, reset=marks())
    module = made(bt, "gru", I, H)
    with pytest.raises(ValueError, match=r"reset must have shape \(T,B\) = \(7, 1\), got \(7, 4\)"):
        module(x[0], reset=marks())
    for given in ({"lengths": [7] * B}, {"reset": marks()}, {"return_states": True}):
        with pytest.raises(TypeError, match="lengths, reset and return_states go with a tensor, got a PackedSequence"):
            module(pack(x, [T] * B, True), **given)
    with pytest.raises(TypeError, match="positional"):
        module(x, None, LENGTHS)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch's own use of it
@pytest.mark.parametrize("given, text", [
    ({"reset": marks().T}, r"reset must have shape \(T,B\) = \(7, 4\), got \(4, 7\)"),
    ({"lengths": LENGTHS[:3], "reset": marks()}, r"lengths must have shape \(B,\) = \(4,\), got \(3,\)"),
], ids=str)  # fmt: skip
def test_bad_marks_within_transforms(given, text):
    module = made(bt, "gru", I, H)
    with pytest.raises(ValueError, match=text):
        torch.func.jvp(lambda x: module(x, **given)[0], (zeros(T, B, I),), (zeros(T, B, I),))
