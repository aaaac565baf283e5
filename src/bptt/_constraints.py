"""bptt.Constraints: masks, signs and norms that a network's weights keep while it is trained."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from . import _core
from ._checks import brief, threshold
from ._optim import _Optimizer
from ._rnn import RNN, views_of

MATRICES = ("weight_ih", "weight_hh", "weight_ho")
"""Whose rows are the weights into a unit."""


class Constraints:
    """What weights may be: masked ones are zero, others have a sign, and those into a unit a largest norm.

    `apply` projects the parameters onto the constraints, in place, after each step of the optimiser;
    ``bptt.fit(constraints=...)`` does all of it.

    Parameters
    ----------
    rnn : bptt.RNN
        The network. Making the constraints changes nothing yet.
    masks : mapping of str to array_like, optional
        By the names of param_views arrays of the parameters' shapes: where one is 0 (False) the weight is exactly zero,
        where it is 1 (True) it is free. ``1 - np.eye(H)`` for weight_hh_l0 leaves out connections of a unit to itself.
    signs : mapping of str to array_like, optional
        By the same names arrays of -1, 0 and 1: weights of at most zero, of any sign, of at least zero. Either of the
        parameter's shape, or one sign for each column of a matrix: the sign of the unit that the weights come from
        (Dale's law), as bptt.init.dale_signs gives them.
    max_norm : float or mapping of str to float, optional
        Above 0: the largest Euclidean norm of a row of a weight matrix, the weights into a unit (of a gated cell into a
        gate), which is scaled down to it (Srebro, Rennie, Jaakkola 2005; Srivastava et al. 2014, and Keras' MaxNorm). A
        number holds for every weight_ih, weight_hh and weight_ho.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit: an unknown name, another shape, other numbers.

    Notes
    -----
    A gradient does not know of masks: call `mask_grads` between backward and the clipping of the gradient, so that
    masked weights count in no norm and what the optimiser keeps of them (momentum, moving averages) stays exactly zero;
    ``apply(optimizer)`` sets that to zero too. Training files do not hold constraints: make them again with the same
    arguments before going on.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> signs = bptt.init.dale_signs(10, 0.8)
    >>> rnn = bptt.RNN(2, 10, 1, cell="relu", init=bptt.init.dale(0.8), seed=0)
    >>> masks, signs = {"weight_hh_l0": 1 - np.eye(10)}, {"weight_hh_l0": signs}
    >>> constraints = bptt.Constraints(rnn, masks, signs)
    >>> adam = bptt.Adam(rnn.params, rnn.grads)
    >>> rnn.grads[:] = 1.0  # where a backward goes
    >>> constraints.mask_grads()
    >>> adam.step()
    >>> constraints.apply(adam)
    >>> weights = rnn.param_views()["weight_hh_l0"]
    >>> bool((weights[:, :8] >= 0).all() and (weights[:, 8:] <= 0).all())
    True
    >>> bool(weights.diagonal().any())
    False
    """

    def __init__(
        self,
        rnn: RNN,
        masks: Mapping[str, np.ndarray] | None = None,
        signs: Mapping[str, np.ndarray] | None = None,
        max_norm: float | Mapping[str, float] | None = None,
    ) -> None:
        if not isinstance(rnn, RNN):
            raise TypeError(f"rnn must be a bptt.RNN, got {type(rnn).__name__}")
        self.rnn = rnn
        self._rules = np.full(rnn.params.shape, _core.RULES[0], np.int8)
        views = views_of(self._rules, rnn.tensors())
        for name, given in _named(signs, "signs", views):
            shape = views[name].shape
            values = _values(given, f"signs[{name!r}]", (-1, 0, 1), "-1, 0 and 1", shape, columns=True)
            for sign in (-1, 1):
                views[name][np.broadcast_to(values == sign, shape)] = _core.RULES[sign]
        for name, given in _named(masks, "masks", views):
            values = _values(given, f"masks[{name!r}]", (0, 1), "0 and 1", views[name].shape)
            views[name][values == 0] = _core.RULES["zero"]
        self._max_norm = _norms(max_norm, views, rnn.dtype)

    def mask_grads(self) -> None:
        """Set the gradients of masked weights to zero, in place: before the gradient is clipped."""
        with self.rnn.lock:
            _core.constrain(self.rnn.grads, self._rules, True)

    def apply(self, optimizer=None) -> None:
        """Project the parameters onto the constraints, in place: masks and signs, then norms.

        Parameters
        ----------
        optimizer : bptt.SGD, RMSprop, Adagrad or Adam, optional
            One that was made with this network's params and grads: what it keeps of masked weights is set to zero.
        """
        if optimizer is not None:
            self._check(optimizer)
        with self.rnn.lock:
            _core.constrain(self.rnn.params, self._rules, False)
            views = self.rnn.param_views() if self._max_norm else {}
            for name, most in self._max_norm.items():
                _core.clip_row_norms(views[name], most)
            for array in () if optimizer is None else optimizer.accumulators():
                _core.constrain(array, self._rules, True)

    def _check(self, optimizer):
        if not isinstance(optimizer, _Optimizer):
            raise TypeError(f"optimizer must be one of bptt's, got {brief(optimizer)}: with mask_grads() it needs none")
        sizes = {array.size for array in optimizer.accumulators()}
        if not optimizer.works_on(self.rnn.params, self.rnn.grads) or sizes - {self._rules.size}:
            raise ValueError("optimizer must be made with all of this network's params and grads")

    def fingerprint(self) -> dict[str, object]:
        """Describe the constraints, so that those of two trainings can be compared.

        Returns
        -------
        dict of str to object
            A hash of masks and signs, and the largest norms by name.
        """
        return {"rules": hashlib.sha256(self._rules.tobytes()).hexdigest(), "max_norm": dict(self._max_norm)}


def _named(given, argument, views):
    """The items of a mapping whose keys are names of parameters."""
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        raise TypeError(f"{argument} must be a mapping of parameters' names to arrays, got {brief(given)}")
    for name in given:
        if name not in views:
            raise ValueError(f"{argument} must have names of {list(views)}, got {brief(name)}")
    return given.items()


def _values(given, name, allowed, words, shape, columns=False):
    """An array of this shape (with `columns` of a matrix also that of its columns) with no other values than those."""
    array = np.asarray(given)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be an array of numbers {words}, got {brief(given)}")
    shapes = [shape, shape[1:]] if columns and len(shape) == 2 else [shape]
    if array.shape not in shapes:
        raise ValueError(f"{name} must have shape {' or '.join(map(str, shapes))}, got {array.shape}")
    if not np.isin(array, allowed).all():
        other = array[~np.isin(array, allowed)].flat[0]
        raise ValueError(f"{name} must hold only {words}, got {other}")
    return array


def _norms(given, views, dtype):
    """{name: largest norm of a row}."""
    if given is None:
        return {}
    matrices = [name for name in views if name.startswith(MATRICES)]
    if not isinstance(given, Mapping):
        given = dict.fromkeys(matrices, given)
    norms = {}
    for name, most in given.items():
        if name not in matrices:
            raise ValueError(f"max_norm must have names of {matrices}, got {brief(name)}")
        label = f"max_norm[{name!r}]"
        norms[name] = threshold(most, label)
        if not dtype.type(min(norms[name], float(np.finfo(dtype).max))) > 0:
            raise ValueError(f"{label} must be above 0 in {dtype}, got {most!r}")
    return norms
