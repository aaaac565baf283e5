"""How far gradients reach back in time: bptt.gradient_flow (Pascanu, Mikolov, Bengio 2013, arXiv 1211.5063)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ._checks import index
from ._loss import Loss, measured, named_loss
from ._minibatches import Data
from ._rnn import RNN, check_network
from ._sequences import check_tokens

LIMIT = 100.0
"""A gradient that changes by more than this factor is called exploding or vanishing. Learning rates that work span a
decade or so around the best one, so where the shares of near and far steps lie two decades apart, no learning rate
suits both: the smaller share is not learnt from, or the larger one leads the update astray."""
LONGEST = 256  # steps back, unless the caller asks for more
GATES = {"gru": "rzn", "lstm": "ifgo"}  # names of the blocks of weight_hh; those of other cells have none


class Spectrum(NamedTuple):
    """Factors by which one recurrent matrix scales a gradient in a step, without the cell's derivative; with a leak a
    those of (1-a) I + a W_hh."""

    weight: str
    """its name in param_views()"""
    gate: str
    """r, z, n of a GRU, i, f, g, o of an LSTM, "" of other cells"""
    radius: float
    """spectral radius, the largest ``|eigenvalue|``: the factor per step in the long run"""
    norm: float
    """largest singular value: the largest factor in one step"""


@dataclass(frozen=True, eq=False, repr=False)
class GradientFlow:
    """What gradient_flow measured. print() shows it; bptt.plot.gradient_flow draws it."""

    distance: np.ndarray
    """(K+1,) of int: 0, 1, ..., K steps"""
    norms: np.ndarray
    """(layers,K+1): ||dL_t/dh_{t-k}|| / ||dL_t/dh_t||, the median over the anchor steps t"""
    anchor_norms: np.ndarray
    """(layers,anchors,K+1): the same of each anchor step; Inf where the gradient is Inf or NaN"""
    anchors: np.ndarray
    """(anchors,) of int: the steps t"""
    layers: tuple[str, ...]
    """"l0", "l0_reverse", "l1", ...: the rows of norms, named as the parameters are"""
    growth: np.ndarray
    """(layers,): the factor per step, from a straight line through log(norms) by least squares"""
    spectra: tuple[Spectrum, ...]
    """one for each recurrent matrix"""

    @property
    def half_life(self) -> np.ndarray:
        """numpy.ndarray: (layers,), steps in which the gradient falls to a half; Inf where it does not fall."""
        return _steps(0.5, self.growth)

    @property
    def doubling_time(self) -> np.ndarray:
        """numpy.ndarray: (layers,), steps in which the gradient doubles; Inf where it does not grow."""
        return _steps(2.0, self.growth)

    @property
    def verdicts(self) -> tuple[str, ...]:
        """tuple of str: one for each layer.

        "exploding": somewhere the norm is above 100 times that at distance 0. "vanishing": at the largest distance it
        is below 1/100. "healthy": neither.
        """
        return tuple(
            "exploding" if row.max() > LIMIT else "vanishing" if row[-1] < 1 / LIMIT else "healthy"
            for row in self.norms
        )

    @property
    def verdict(self) -> str:
        """str: "exploding" if any layer is, "vanishing" if all layers are, otherwise "healthy".

        One healthy layer carries the gradient to the largest distance.
        """
        if "exploding" in self.verdicts:
            return "exploding"
        return "healthy" if "healthy" in self.verdicts else "vanishing"

    def __repr__(self) -> str:
        factors = ", ".join(f"{name} x {rate:.3g}" for name, rate in zip(self.layers, self.growth, strict=True))
        return f"<GradientFlow over {self.distance[-1]} steps: {self.verdict}; per step {factors}>"

    def __str__(self) -> str:
        return "\n".join([*self._summary(), "", *self._layer_table(), "", *self._matrix_table()])

    def _summary(self):
        K, last, peak = self.distance[-1], self.norms[:, -1].max(), self.norms.max()
        yield f"Gradient flow over {K} steps: {self.verdict}"
        if self.verdict == "exploding":
            yield f"The gradient grows to {peak:.3g} times its norm, the limit is {LIMIT:g}."
        elif self.verdict == "vanishing":
            yield f"{K} steps back {last:.3g} of the gradient is left, the limit is {1 / LIMIT:g}."
        else:
            yield f"{K} steps back the norm is {last:.3g} times that at 0, the limits are {1 / LIMIT:g} and {LIMIT:g}."

    def _layer_table(self):
        """A line per layer: the norms at a few distances, from near to far."""
        shown = np.unique(np.geomspace(1, self.distance[-1], 4).round().astype(int))
        count, t = len(self.anchors), self.anchors
        anchors = f"the median of {count} anchor steps from t = {t[0]} to {t[-1]}" if count > 1 else f"t = {t[0]}"
        yield f"||dL_t/dh_(t-k)|| / ||dL_t/dh_t||, {anchors}"
        yield f"  {'layer':12}" + "".join(f"{f'k = {k}':>11}" for k in shown) + f"{'per step':>12}"
        for name, row, rate, verdict in zip(self.layers, self.norms, self.growth, self.verdicts, strict=True):
            numbers = "".join(f"{row[k]:11.3g}" for k in shown)
            yield f"  {name:12}{numbers}{f'x {rate:.4g}':>12}   {verdict}{self._pace(rate)}"

    def _pace(self, rate):
        for factor, does in (0.5, "halves"), (2.0, "doubles"):
            steps = _steps(factor, rate)
            if 0 < steps <= self.distance[-1]:
                return f", {does} every {steps:.3g} steps"
        return ""

    def _matrix_table(self):
        yield f"  {'recurrent matrix':30}{'spectral radius':>16}{'largest singular value':>25}"
        for weight, gate, radius, norm in self.spectra:
            yield f"  {f'{weight}, gate {gate}' if gate else weight:30}{radius:16.4g}{norm:25.4g}"


def gradient_flow(
    rnn: RNN,
    x,
    target,
    loss: str | Loss = "mse",
    *,
    max_distance: int | None = None,
    anchors: int = 9,
    state=None,
    reset=None,
    mask=None,
) -> GradientFlow:
    """Measure how the gradient decays or grows on its way back in time.

    For some anchor steps t the loss L_t of step t alone is taken, and its gradient followed back to h_{t-1}, h_{t-2},
    ..., h_{t-K}. (The usual gradient shows nothing of this: each step adds its own loss to it.) `print(flow)` shows
    the result.

    Parameters
    ----------
    rnn : bptt.RNN
        Parameters and gradients are left as they are, bit for bit; what the last forward left for backward is replaced.
    x, target, loss, state, reset, mask : see RNN.windows
        Arrays, as RNN.windows takes them.
    max_distance : int, optional
        K, in steps; by default half the sequence, at most 256.
    anchors : int
        Most anchor steps. They lie evenly spread over the steps whose loss counts (by mask and ignored labels) and
        that have K steps before them, the last of these among them; so every distance is seen from every anchor. With
        K = T-1 only the last step is one. Steps whose own gradient is zero, NaN or Inf are left out.

    Returns
    -------
    bptt.GradientFlow

    Raises
    ------
    ValueError
        If an argument does not fit, or no anchor's loss has a gradient.
    FloatingPointError
        If the gradient of every anchor is NaN or Inf.

    Notes
    -----
    Norms are over batch rows and units, relative to that at the anchor. Their median over the anchors is taken: a norm
    is a product of many factors, so its logarithm is what spreads evenly; the arithmetic mean would show the largest
    anchor alone, and a geometric one be zero where one anchor's gradient is (dead relu units, a reset). In layers below
    the last, dL_t/dh_{t-k} takes all ways, through the layers above too. In a direction that runs backward through
    time, distance counts forward, and anchors have K steps after them as well. Of an LSTM h is measured, not c; both
    change at the same rate in the long run. Dropout acts as in training, with masks of each anchor's own.

    The fit leaves out norms too small for the dtype to hold with full precision, and Inf; where nothing else is left,
    growth is 0 or Inf.

    Cost: a forward pass up to the last anchor without a tape, and for each anchor forward and backward over K+1 steps,
    with memory for K+1 steps; for a bidirectional network a forward and a backward pass over all steps for each anchor.
    Eigenvalues and singular values cost O(H^3).

    Pascanu, Mikolov, Bengio 2013: in a vanilla network the gradient vanishes surely where the largest singular value
    times the largest ``|f'|`` (1; 1/4 for sigmoid) is below 1, and can explode only where it is above.
    """
    check_network(rnn)
    function = named_loss(loss)
    if mask is not None:
        function.check_takes_mask()
    data = Data(rnn, x, target, mask, reset, None)
    check_tokens(rnn, data.arrays["x"], "x", data.layout)
    weights = {name: w for name, w in rnn.param_views().items() if name.startswith("weight_hh")}
    layers = tuple(name.removeprefix("weight_hh_") for name in weights)
    both_ways = any(_runs_backward(layer) for layer in layers)
    K = _largest_distance(max_distance, data.steps, both_ways)
    chosen = _anchor_steps(data, function.ignored, K, index(anchors, "anchors"), both_ways)
    with rnn.lock:
        grads, drawn = rnn.grads.copy(), rnn.dropout_state
        try:
            absolute = _norms(rnn, data, function, state, chosen, K, layers, both_ways)
        finally:
            rnn.grads[...], rnn.dropout_state = grads, drawn
        spectra = tuple(s for name, w in weights.items() for s in _spectra(name, _with_leak(rnn, name, w), rnn.cell))
    usable = _usable(absolute[:, :, 0], chosen)
    absolute = absolute[:, usable]
    with np.errstate(all="ignore"):
        ratios = _ratios(absolute)
        norms = np.median(ratios, axis=1)
        exact = np.isfinite(norms) & (np.median(absolute, axis=1) >= _smallest(rnn.dtype))
        growth = np.array([_growth(*row) for row in zip(norms, exact, strict=True)])
    return GradientFlow(np.arange(K + 1), norms, ratios, chosen[usable], layers, growth, spectra)


def _runs_backward(layer):
    return layer.endswith("_reverse")


def _largest_distance(max_distance, steps, both_ways):
    most = (steps - 1) // 2 if both_ways else steps - 1
    if most < 1:
        raise ValueError(f"x must have at least {3 if both_ways else 2} steps, got {steps}")
    if max_distance is None:
        return min(LONGEST, max(1, most // 2))
    distance = index(max_distance, "max_distance")
    if distance > most:
        raise ValueError(f"max_distance must be at most {most} for {steps} steps, got {distance}")
    return distance


def _anchor_steps(data, ignored, K, most, both_ways):
    """(anchors,): steps evenly spread over those whose loss counts and that have K steps before them (with two
    directions behind them too); the last of these is one."""
    counts = data.counts(data.arrays, 0, data.steps, ignored)
    if not data.layout.unbatched:
        counts = counts.any(axis=1 - data.layout.time_axis)
    first, end = K, data.steps - K if both_ways else data.steps
    candidates = first + np.flatnonzero(counts[first:end])
    if not len(candidates):
        raise ValueError(f"mask and target must leave a step from {first} to {end - 1} whose loss counts, got none")
    count = min(most, len(candidates))
    return candidates[np.linspace(len(candidates) - 1, 0, count).round().astype(int)[::-1]]


def _norms(rnn, data, loss, state, anchors, K, layers, both_ways):
    """(layers,anchors,K+1): ||dL_t/dh|| at the distances 0..K from every anchor step t."""
    found = np.empty((len(layers), len(anchors), K + 1))
    at = 0  # `state` is that before this step
    for i, t in enumerate(anchors):
        start, stop = (0, data.steps) if both_ways else (t - K, t + 1)
        state = _advanced(rnn, data, state, at, start, K + 1)
        at = start
        norms = _step_norms(rnn, data, loss, state, start, stop, t, len(layers))
        for row, layer in enumerate(layers):
            here = t - start
            if _runs_backward(layer):
                found[row, i] = norms[row, here : here + K + 1]
            else:
                found[row, i] = norms[row, here - K : here + 1][::-1]
    return found


def _advanced(rnn, data, state, start, stop, piece):
    """The state before step `stop`, given that before step `start`. A memmap is read in pieces, never whole."""
    for first in range(start, stop, piece):
        part = _part(data, first, min(first + piece, stop))
        _, state = rnn.forward(part["x"], state, reset=part.get("reset"), tape=False)
    return state


def _step_norms(rnn, data, loss, state, start, stop, t, layers):
    """(layers,stop-start): ||dL_t/dh_s|| of the steps s = start..stop-1."""
    part = _part(data, start, stop)
    y, _ = rnn.forward(part["x"], state, reset=part.get("reset"))
    dy = np.zeros_like(y)

    def here(array):
        return data.layout.steps_of(array, t - start, t - start + 1)

    options = {"mask": here(part["mask"])} if "mask" in part else {}
    here(dy)[...] = measured(loss, here(y), here(part["target"]), start=t, **options)[1]
    norms = np.empty((layers, stop - start) if layers > 1 else stop - start, rnn.dtype)
    rnn.backward(dy, step_norms=norms, input_grad=False, state_grad=False)
    return np.atleast_2d(norms)


def _part(data, start, stop):
    """{x, target, and mask and reset where given} of some steps."""
    return {name: data.layout.steps_of(array, start, stop) for name, array in data.arrays.items()}


def _usable(first, anchors):
    """Which anchors have a gradient: first (layers,anchors) holds its norms at distance 0."""
    finite = np.isfinite(first).all(axis=0)
    usable = finite & (first > 0).any(axis=0)
    if not usable.any():
        if finite.any():
            raise ValueError(f"loss must have a gradient at some anchor step, it is zero at all of {anchors.tolist()}")
        raise FloatingPointError(
            f"dL_t/dh_t is NaN or Inf at all anchor steps {anchors.tolist()}: the input, the states or the loss are"
        )
    return usable


def _ratios(absolute):
    """Norms relative to distance 0: 0 where no gradient enters the layer, Inf for NaN, which Inf soon turns into."""
    first = absolute[:, :, :1]
    ratios = np.divide(absolute, first, out=np.zeros_like(absolute), where=first > 0)
    return np.where(np.isnan(ratios), np.inf, ratios)


def _smallest(dtype):
    """Below this norm the entries that make it up are subnormal numbers, which hold fewer and fewer digits."""
    limits = np.finfo(dtype)
    return float(limits.tiny) / float(limits.eps)


def _growth(norms, exact):
    """exp of the slope of a straight line through log(norms)."""
    k = np.flatnonzero(exact)
    if len(k) < 2:
        return 0.0 if norms[-1] < 1 else np.inf
    centred = k - k.mean()
    return np.exp(centred @ np.log(norms[k]) / (centred @ centred))


def _steps(factor, growth):
    """In how many steps growth per step makes this factor; Inf if never."""
    with np.errstate(all="ignore"):
        steps = np.log(factor) / np.log(growth)
    return np.where(growth < 1 if factor < 1 else growth > 1, steps, np.inf)


def _with_leak(rnn, name, weight):
    """The matrix of a step: (1-a) I + a W_hh, without a leak W_hh itself."""
    if rnn.leak == 1:
        return weight
    trained = rnn.param_views().get(name.replace("weight_hh", "leak"))
    leak = rnn.spec.unit_leaks(trained)
    return np.diag(1 - leak) + leak[:, None] * weight


def _spectra(name, weight, cell):
    H = weight.shape[1]
    blocks = weight.astype(np.float64).reshape(-1, H, H)
    for gate, block in zip(GATES.get(cell, [""] * len(blocks)), blocks, strict=True):
        radius = np.abs(np.linalg.eigvals(block)).max()
        yield Spectrum(name, gate, float(radius), float(np.linalg.norm(block, 2)))
