"""The networks of bptt.torch by functions of torch, for what needs more than values and first derivatives: second ones,
traces and the transforms of torch.func."""

from __future__ import annotations

import torch
from torch.nn.functional import linear
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

SEQUENCES = {"tanh": torch.rnn_tanh, "relu": torch.rnn_relu, "lstm": torch.lstm, "gru": torch.gru}


def rows_of(tokens, table, padding_idx):
    """The rows of a table that integers stand for."""
    return torch.nn.functional.embedding(tokens.long(), table, padding_idx)


def one_hot(tokens, size, dtype):
    """The unit vectors that integers stand for."""
    return torch.nn.functional.one_hot(tokens.long(), size).to(dtype)


def by_torch(
    cell, network, input, state, params, lengths=None, reset=None, return_states=False, dropout=0.0, falling=False
):
    """(output, [state], [states]) of a module's forward, that can be differentiated any number of times.

    network is a Spec or a module. The parts of state may be None, for zeros; lengths and reset are tensors in the
    user's layout; falling says that no length is above the one before it. states, those after all steps, is empty
    without return_states.
    """
    unbatched = input.dim() == 2
    if unbatched:
        input, state = input.unsqueeze(1), [None if part is None else part.unsqueeze(1) for part in state]
    transposed = network.batch_first and not unbatched
    if transposed:
        input = input.transpose(0, 1)
    T, B = input.shape[:2]
    if T == 0:
        raise ValueError(f"input must have a step, got shape {tuple(input.shape)}")
    units = network.num_layers * (2 if network.bidirectional else 1)
    state = [input.new_zeros(units, B, network.hidden_size) if part is None else part for part in state]
    if reset is None and not return_states and (lengths is None or falling):
        output, state = _by_sequence(cell, network, input, state, params, lengths)
        states = []
    else:
        if lengths is not None and lengths.shape != (B,):
            raise ValueError(f"lengths must have shape (B,) = ({B},), got {tuple(lengths.shape)}")
        if reset is not None:
            reset = _time_major(reset.bool(), T, B, unbatched, transposed)
        output, state, states = _by_steps(cell, network, input, state, params, lengths, reset, dropout)
    if unbatched:
        output, state, states = output.squeeze(1), [p.squeeze(1) for p in state], [p.squeeze(2) for p in states]
    return output.transpose(0, 1) if transposed else output, state, states if return_states else []


def _time_major(reset, T, B, unbatched, transposed):
    """reset as (T,B)."""
    if unbatched and reset.dim() == 1:
        reset = reset[:, None]
    letters, expected = ("B,T", (B, T)) if transposed else ("T,B", (T, B))
    if reset.shape != expected:
        raise ValueError(f"reset must have shape ({letters}) = {expected}, got {tuple(reset.shape)}")
    return reset.t() if transposed else reset


def _by_sequence(cell, network, input, state, params, lengths):
    """(output, [state]) by one function for all steps; input is time-major, lengths sorted longest first."""
    T, B = input.shape[:2]
    # packed in any case: for other sequences torch may take oneDNN's LSTM, which has no second derivative
    packed = pack_padded_sequence(input, torch.full((B,), T) if lengths is None else lengths)
    data, *state = SEQUENCES[cell](
        packed.data, packed.batch_sizes, state if len(state) == 2 else state[0],
        params, network.bias, network.num_layers, 0.0, False, network.bidirectional,
    )  # fmt: skip
    return pad_packed_sequence(packed._replace(data=data), total_length=T)[0], state


def _by_steps(cell, network, input, state, params, lengths, reset, dropout):
    """(output, [state], [states]) step by step; input and reset are time-major."""
    inside = None  # (T,B): whether a row has a step
    if lengths is not None:
        inside = torch.arange(input.shape[0])[:, None] < lengths
        input = torch.where(inside[..., None], input, 0)
        reset = None if reset is None else reset & inside
    directions, weights_each = 2 if network.bidirectional else 1, 4 if network.bias else 2
    last, every = [], []  # of each layer and direction: the parts of its state, (B,H) and (T,B,H)
    for layer in range(network.num_layers):
        if layer and dropout:
            input = torch.nn.functional.dropout(input, dropout)
        for direction in range(directions):
            number = layer * directions + direction
            weights = params[number * weights_each : (number + 1) * weights_each]
            entering = [part[number] for part in state]
            ended, steps = _one_direction(cell, input, entering, weights, inside, reset, direction)
            last.append(ended)
            every.append(steps)
        input = torch.cat([parts[0] for parts in every[-directions:]], -1)
    last, every = [list(zip(*of_layers, strict=True)) for of_layers in (last, every)]
    return input, [torch.stack(part) for part in last], [torch.stack(part, 1) for part in every]


def _one_direction(cell, input, state, weights, inside, reset, reverse):
    """([last state], [states]) of one layer in one direction."""
    w_ih, w_hh, *biases = weights
    b_ih, b_hh = biases or (None, None)
    inputs, T = linear(input, w_ih, b_ih), len(input)
    states = [None] * T
    for t in reversed(range(T)) if reverse else range(T):
        entering, begins = state, t + 1 if reverse else t  # a reset cuts the link to the step before it
        if reset is not None and begins < T:
            entering = [torch.where(reset[begins][:, None], 0, part) for part in state]
        after = _step(cell, inputs[t], linear(entering[0], w_hh, b_hh), entering)
        if inside is not None:
            after = [torch.where(inside[t][:, None], new, old) for new, old in zip(after, state, strict=True)]
        states[t] = state = after
    steps = [torch.stack(part) for part in zip(*states, strict=True)]
    return state, steps if inside is None else [torch.where(inside[..., None], part, 0) for part in steps]


def _step(cell, from_x, from_h, state):
    """The state after a step, from W_ih x + b_ih, W_hh h + b_hh and the state that enters it. In plain functions, as
    torch's own cells have no batching rules for vmap."""
    if cell == "lstm":
        i, f, g, o = (from_x + from_h).chunk(4, -1)
        c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
        return [o.sigmoid() * c.tanh(), c]
    if cell == "gru":
        (xr, xz, xn), (hr, hz, hn) = from_x.chunk(3, -1), from_h.chunk(3, -1)
        z, n = (xz + hz).sigmoid(), (xn + (xr + hr).sigmoid() * hn).tanh()
        return [(1 - z) * n + z * state[0]]
    return [torch.tanh(from_x + from_h) if cell == "tanh" else torch.relu(from_x + from_h)]
