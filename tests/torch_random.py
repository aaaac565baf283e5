"""Random modules of bptt.torch beside the same ones of torch.nn: equal results, or a clear error, never another number.

python tests/torch_random.py [COUNT] [SEED]

Every case makes a module, changes it in random ways (parameters replaced, tied, transposed, frozen; attributes set;
copies, files, conversions), and uses it in a random way (backward, second derivatives, torch.func, traces, packed,
unbatched and empty inputs). Both modules draw the same numbers. Prints how often what happened; exit status 1 at a
difference.
"""

import collections
import copy
import io
import pickle
import random
import re
import sys
import warnings

import torch
import torch.nn.utils.prune
from torch.autograd import forward_ad
from torch.nn.utils.rnn import pack_padded_sequence

import bptt.torch

TOLERANCE = 1e-10
HALF = 0.05  # what bfloat16 of autocast is allowed

# errors of bptt.torch that there may be, whatever torch.nn does: it reads beyond parameters of a wrong shape
CLEAR = {
    "a parameter's shape": (ValueError, re.compile(r"\w+_l\d\w* must have shape \(.*\), got \(.*\)")),
    "parameters of two dtypes": (TypeError, re.compile(r"parameters must have one dtype, .*, got .* for \w+")),
    "attributes that do not fit": (ValueError, re.compile(r"num_layers=.* must be as when the module was made")),
    "input_size": (ValueError, re.compile(r"input must have shape .* with I = \d")),
}


# ---- changes: (module, draw) -> module. draw is a random.Random; torch's generator is seeded too ------------


def names_of(module):
    return [name for name, _ in module.named_parameters(remove_duplicate=False) if "." not in name]


def chosen(module, draw):
    """A parameter's name, and the parameter."""
    name = draw.choice(names_of(module))
    return name, getattr(module, name)


def alike(module, draw):
    """Two names of parameters of one shape, perhaps the same name."""
    name, p = chosen(module, draw)
    return name, draw.choice([other for other in names_of(module) if getattr(module, other).shape == p.shape])


def replaced(module, draw):
    name, p = chosen(module, draw)
    setattr(module, name, torch.nn.Parameter(torch.randn(p.shape, dtype=p.dtype)))


def tied(module, draw):
    name, other = alike(module, draw)
    setattr(module, name, getattr(module, other))


def shared_memory_of_two(module, draw):
    name, other = alike(module, draw)
    getattr(module, name).data = getattr(module, other).data


def exchanged(module, draw):
    p, q = (getattr(module, name) for name in alike(module, draw))
    p.data, q.data = q.data, p.data


def transposed(module, draw):
    name, p = chosen(module, draw)
    if p.dim() == 2 and p.shape[0] == p.shape[1]:
        p.data = p.data.t()  # the same address
    elif p.dim() == 2:
        setattr(module, name, torch.nn.Parameter(torch.randn(p.shape[::-1], dtype=p.dtype).t()))


def expanded(module, draw):
    _, p = chosen(module, draw)
    p.data = p.data[:1].expand(p.shape)  # the same address


def strided(module, draw):
    _, p = chosen(module, draw)
    p.data = torch.randn([2 * size for size in p.shape], dtype=p.dtype)[(slice(1, None, 2),) * p.dim()]


def in_a_vector(module, draw):
    params = list(module.parameters())
    if any(not p.is_contiguous() for p in params):
        return
    vector = torch.nn.utils.parameters_to_vector(params).detach().clone()
    torch.nn.utils.vector_to_parameters(vector, params)
    module.flatten_parameters()
    module.__dict__.setdefault("vectors", []).append(vector)  # changed later: the parameters must follow


def frozen(module, draw):
    for p in module.parameters():
        p.requires_grad_(draw.random() < 0.5)


def changed_in_place(module, draw):
    for p in module.parameters():
        with torch.no_grad():
            p.copy_(p * draw.uniform(0.5, 1))


def deepcopied(module, draw):
    return copy.deepcopy(module)


def copied(module, draw):
    return copy.copy(module)


def pickled(module, draw):
    return pickle.loads(pickle.dumps(module))


def saved(module, draw):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def converted(module, draw):
    for step in draw.choice((["double"], ["float", "double"], ["cpu"])):
        getattr(module, step)()


def loaded(module, draw):
    state = {name: torch.randn_like(value) / 2 for name, value in module.state_dict().items()}
    module.load_state_dict(state, assign=draw.random() < 0.5)
    module.__dict__.setdefault("vectors", []).append(draw.choice(list(state.values())))


def emptied(module, draw):
    state = {name: value.clone() for name, value in module.state_dict().items()}
    module.to("meta").to_empty(device="cpu").load_state_dict(state)


def shared(module, draw):
    module.share_memory()


def weight_normed(module, draw):
    torch.nn.utils.parametrizations.weight_norm(module, chosen(module, draw)[0])


def pruned(module, draw):
    torch.nn.utils.prune.random_unstructured(module, chosen(module, draw)[0], 0.5)


def attribute(name, *values):
    def change(module, draw):
        setattr(module, name, draw.choice(values))

    change.__name__ = name
    return change


def evaluated(module, draw):
    module.train(draw.random() < 0.5)


def activated(module, draw):
    if isinstance(module, torch.nn.RNN):
        module.mode = draw.choice(("RNN_TANH", "RNN_RELU"))


def of_another_shape(module, draw):
    name, p = chosen(module, draw)
    shape = draw.choice([(1, *p.shape), p.shape[:-1] + (1,), (1,) + p.shape[1:], p.shape[:-1] + (p.shape[-1] + 1,)])
    setattr(module, name, torch.nn.Parameter(torch.randn(shape, dtype=p.dtype)))


def of_another_dtype(module, draw):
    _, p = chosen(module, draw)
    p.data = p.data.float()


CHANGES = (
    replaced, tied, shared_memory_of_two, exchanged, transposed, expanded, strided, in_a_vector, frozen,
    changed_in_place, deepcopied, copied, pickled, saved, converted, loaded, emptied, shared, weight_normed, pruned,
    evaluated, activated, attribute("batch_first", False, True), attribute("dropout", 0.0, 0.5, 1.0),
)  # fmt: skip
BAD_CHANGES = (
    of_another_shape, of_another_dtype, attribute("num_layers", 1, 2, 3), attribute("hidden_size", 2, 3, 4),
    attribute("bias", False, True), attribute("bidirectional", False, True), attribute("input_size", 2, 3),
)  # fmt: skip


# ---- uses: (module, input, hx, draw) -> list of tensors or None ----------------------------------------------


def leaves_of(*things):
    return [leaf for leaf in torch.utils._pytree.tree_leaves(things) if isinstance(leaf, torch.Tensor)]


def tensors_of(result):
    """Output and state of a call; of a packed output the data."""
    output, state = result
    return [output.data, *leaves_of(state)]


def loss_of(tensors, draw):
    """A sum of some of them, which is not linear."""
    some = [t for t in tensors if draw.random() < 0.7] or tensors[:1]
    return sum((t.double() * torch.linspace(-1, 1, t.numel()).reshape(t.shape)).sin().sum() for t in some)


def sources_of(module, input, hx):
    return [t for t in leaves_of(input if isinstance(input, torch.Tensor) else input.data, hx) if t.requires_grad] + [
        p for p in module.parameters() if p.requires_grad
    ]


def backward(module, input, hx, draw):
    tensors = tensors_of(module(input, hx))
    loss = loss_of(tensors, draw)
    if loss.requires_grad:
        loss.backward()
    leaves = [t for t in leaves_of(hx, input if isinstance(input, torch.Tensor) else None) if t.is_leaf]
    return [*tensors, *(t.grad for t in leaves), *(p.grad for p in module.parameters())]


def several_calls(module, input, hx, draw):
    first = tensors_of(module(input, hx))
    loss = loss_of(first, draw) + loss_of(tensors_of(module(input, hx)), draw)
    if loss.requires_grad:
        loss.backward(retain_graph=True)
        loss.backward()
    return [*first, *(p.grad for p in module.parameters())]


def second_derivative(module, input, hx, draw):
    sources = sources_of(module, input, hx)
    loss = loss_of(tensors_of(module(input, hx)), draw)
    if not loss.requires_grad:
        return [loss]
    some = [s for s in sources if draw.random() < 0.7] or sources
    first = torch.autograd.grad(loss, some, create_graph=True, allow_unused=True)
    penalty = sum((g**2).sum() for g in first if g is not None)
    if not isinstance(penalty, torch.Tensor) or not penalty.requires_grad:
        return [*first]
    if draw.random() < 0.5:
        return [*first, *torch.autograd.grad(penalty, sources, allow_unused=True)]
    (loss + penalty).backward(inputs=sources)
    return [*first, *(s.grad for s in sources)]


def without_grad(module, input, hx, draw):
    with draw.choice((torch.no_grad, torch.inference_mode))():
        before = tensors_of(module(input, hx))
    return [t.clone() for t in before] + backward(module, input, hx, draw)


def functional(module, input, hx, draw):
    params = {name: torch.randn(p.shape, dtype=p.dtype) for name, p in module.named_parameters()}

    def loss(params):
        return loss_of(tensors_of(torch.func.functional_call(module, params, (input, hx))), random.Random(1))

    if draw.random() < 0.5:
        return [*torch.func.grad(loss)(params).values(), *tensors_of(module(input, hx))]
    params = {name: p.requires_grad_() for name, p in params.items()}
    value = loss(params)
    return [*torch.autograd.grad(value, list(params.values()), allow_unused=True)] if value.requires_grad else [value]


def plain_call(module, hx):
    return lambda input: tensors_of(module(input, hx))[0]


def forward_mode(module, input, hx, draw):
    if not isinstance(input, torch.Tensor):
        return tensors_of(module(input, hx))
    input = input.detach()
    if draw.random() < 0.5:
        return [*torch.func.jvp(plain_call(module, hx), (input,), (torch.randn_like(input),))]
    with forward_ad.dual_level(), draw.choice((torch.no_grad, torch.enable_grad))():
        dual = forward_ad.make_dual(input, torch.randn_like(input))
        return [part for t in tensors_of(module(dual, hx)) for part in forward_ad.unpack_dual(t)]


def jacobian(module, input, hx, draw):
    if not isinstance(input, torch.Tensor):
        return tensors_of(module(input, hx))
    call, input = plain_call(module, hx), input.detach()
    loss = lambda input: call(input).sin().sum()  # noqa: E731
    return [
        torch.autograd.functional.jacobian(lambda input: call(input).sum(0), input, vectorize=draw.random() < 0.5),
        torch.autograd.functional.hvp(loss, input, torch.randn_like(input))[1],
    ]


def traced(module, input, hx, draw):
    if not isinstance(input, torch.Tensor) or module.training:
        return tensors_of(module(input, hx))
    call = torch.jit.trace(module, (input.detach(),), check_trace=False)
    return tensors_of(call(torch.randn_like(input)))


def checkpointed(module, input, hx, draw):
    call = torch.utils.checkpoint.checkpoint(lambda i: tensors_of(module(i, hx)), input, use_reentrant=False)
    loss = loss_of(call, draw)
    if loss.requires_grad:
        loss.backward()
    return [*call, *(p.grad for p in module.parameters())]


def autocast(module, input, hx, draw):
    """bptt computes in float32 what torch.nn computes in bfloat16."""
    module.float()
    input = input.detach().bfloat16() if isinstance(input, torch.Tensor) else input.to(torch.bfloat16)
    hx = torch.utils._pytree.tree_map(lambda t: t if t is None else t.detach().bfloat16(), hx)
    with torch.autocast("cpu"):
        return tensors_of(module(input, hx))


def trained(module, input, hx, draw):
    input = input.detach() if isinstance(input, torch.Tensor) else input._replace(data=input.data.detach())
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    tensors = []
    for _ in range(3):
        optimizer.zero_grad()
        tensors += tensors_of(module(input, hx))
        loss = loss_of(tensors[-1:], random.Random(0))
        if loss.requires_grad:
            loss.backward()
            optimizer.step()
    return [*tensors, *module.parameters()]


USES = (
    backward, backward, several_calls, second_derivative, second_derivative, without_grad, functional, forward_mode,
    jacobian, traced, checkpointed, autocast, trained,
)  # fmt: skip
SAFE_USES = (backward, several_calls, second_derivative, without_grad, checkpointed)  # others crash torch.nn when bad


# ---- one case ------------------------------------------------------------------------------------------------


def made(home, draw):
    """A module and the arguments of a call."""
    kind = draw.choice(("RNN", "RNN", "LSTM", "LSTM", "GRU"))
    options = {"nonlinearity": draw.choice(("tanh", "relu"))} if kind == "RNN" else {}
    sizes = draw.randint(1, 4), draw.randint(1, 4), draw.choice((1, 1, 2, 3))
    options |= {name: draw.random() < 0.5 for name in ("bidirectional", "bias", "batch_first")}
    module = getattr(home, kind)(*sizes, dropout=draw.choice((0.0, 0.0, 0.3, 1.0)), dtype=torch.float64, **options)
    return module.train(draw.random() < 0.3)


def call_of(module, draw):
    """Input and hx for the module as it is now."""
    T, B, L = draw.randint(1, 4), draw.choice((1, 2, 3, 3, 3, 0)), module.num_layers * (1 + module.bidirectional)
    form = draw.choice(("batch", "batch", "unbatched", "packed"))
    B = max(B, 1) if form == "packed" else B
    shape = (T,) if form == "unbatched" else (B, T) if module.batch_first else (T, B)
    input = torch.randn(*shape, module.input_size, dtype=torch.float64)
    if draw.random() < 0.3:  # of another layout in memory
        input = torch.randn(*shape, 2 * module.input_size, dtype=torch.float64)[..., ::2].transpose(0, 1).contiguous()
        input = input.transpose(0, 1)
    input.requires_grad_(draw.random() < 0.6)
    hx = None
    if draw.random() < 0.6:
        state = (L, module.hidden_size) if form == "unbatched" else (L, B, module.hidden_size)
        hx = [torch.randn(state, dtype=torch.float64).requires_grad_(draw.random() < 0.5) for _ in range(2)]
        hx = tuple(hx) if isinstance(module, torch.nn.LSTM) else hx[0]
    if form == "packed":
        lengths = [draw.randint(1, T) for _ in range(B)]
        input = pack_padded_sequence(input, lengths, module.batch_first, enforce_sorted=False)
    return input, hx


def outcome(home, seed):
    """(what was done, tensors or None for an error, the error) of the case in one of the two libraries."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    module = made(home, draw)
    changes = draw.choices(CHANGES, k=draw.randint(0, 4))
    use = draw.choice(USES)
    if use in SAFE_USES and draw.random() < 0.15:
        changes.append(draw.choice(BAD_CHANGES))
    done = [use.__name__, *(change.__name__ for change in changes)]
    call = None
    try:
        with torch.random.fork_rng(devices=[]):
            for number, change in enumerate(changes):
                torch.manual_seed(number)
                module = change(module, draw) or module
        if 0 < module.dropout < 1 and module.num_layers > 1:
            module(*call_of(module, random.Random(0)))  # other masks: only that it goes
            module.eval()
        torch.manual_seed(seed)
        call = call_of(module, draw)
        tensors = use(module, *call, draw)
        for vector in module.__dict__.get("vectors", ()):  # memory that the module's parameters may share
            vector.mul_(0.5)
        if "vectors" in module.__dict__ and use is not autocast:
            tensors += tensors_of(module(*call))
        return done, tensors, None
    except Exception as error:
        return done, None, error


def difference(theirs, ours, tolerance):
    """What differs between two lists of tensors, None if nothing."""
    if len(theirs) != len(ours):
        return f"{len(theirs)} tensors and {len(ours)}"
    for i, (a, b) in enumerate(zip(theirs, ours, strict=True)):
        if (a is None) != (b is None):
            return f"tensor {i}: {'none' if a is None else 'one'} and {'none' if b is None else 'one'}"
        if a is None:
            continue
        if (a.shape, a.dtype, a.requires_grad) != (b.shape, b.dtype, b.requires_grad):
            return f"tensor {i}: {(a.shape, a.dtype, a.requires_grad)} and {(b.shape, b.dtype, b.requires_grad)}"
        if not torch.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True):
            return f"tensor {i}: off by {(a - b).abs().max().item():.2g}"
    return None


def clear(error):
    """What an error of bptt.torch is about, None for one that should not be."""
    for name, (kind, text) in CLEAR.items():
        if isinstance(error, kind) and text.match(str(error)):
            return name
    return None


def compared(seed):
    """("equal" | "both refuse" | "clear error" | "difference", the use or what it is about, what was done)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done, ours, our_error = outcome(bptt.torch, seed)
        if clear(our_error) is not None:
            return "clear error", clear(our_error), done
        _, theirs, their_error = outcome(torch.nn, seed)
    if our_error is not None and their_error is not None:
        return "both refuse", done[0], done
    if our_error is not None or their_error is not None:
        return "difference", f"bptt.torch: {our_error!r}, torch.nn: {their_error!r}", done
    off = difference(theirs, ours, HALF if done[0] == "autocast" else TOLERANCE)
    return ("equal", done[0], done) if off is None else ("difference", off, done)


def main(count=2000, seed=0):
    torch.set_num_threads(1)
    counts = collections.Counter()
    for number in range(seed, seed + count):
        result, kind, done = compared(number)
        counts[result, kind if result != "difference" else "seen above"] += 1
        if result == "difference":
            print(f"seed {number}: {kind}; {' '.join(done)}")
    for (result, kind), times in sorted(counts.items()):
        print(f"{times:7} {result}: {kind}")
    return 1 if any(result == "difference" for result, _ in counts) else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
