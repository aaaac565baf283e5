"""Optimisers over flat arrays, in place: `opt = bptt.Adam(rnn.params, rnn.grads, lr=1e-3)`, then `opt.step()`."""

import numpy as np

from . import _core


class _Optimizer:
    """What the optimisers share: the arrays, the rate, and the saved state.

    params, grads: C-contiguous arrays of one shape and dtype (float32 or float64); params is changed in place.
    """

    _state: tuple[str, ...] = ()  # names of the attributes that step() changes

    def __init__(self, params, grads, lr, weight_decay):
        self._params, self._grads = _core.optimizer_arrays(params, grads)
        self.lr = lr
        self.weight_decay = _core.number(weight_decay, "weight_decay", 0)

    @property
    def lr(self) -> float:
        """The learning rate; may be set between steps."""
        return self._lr

    @lr.setter
    def lr(self, value):
        self._lr = _core.number(value, "lr", 0)

    def _zeros(self, value=0.0):
        return np.full(self._params.shape, value, self._params.dtype)

    def state_dict(self) -> dict:
        """What load_state_dict needs to go on exactly here: copies of the accumulators and the step count."""
        return {name: np.copy(getattr(self, "_" + name)) for name in self._state}

    def load_state_dict(self, state: dict) -> None:
        """Take the state of another optimiser of the same kind and size. Nothing is changed unless all fits."""
        if set(state) != set(self._state):
            raise ValueError(f"state must have exactly the names {list(self._state)}, got {list(state)}")
        arrays = {name: np.asarray(state[name]) for name in self._state}
        for name, array in arrays.items():
            if array.shape != np.shape(getattr(self, "_" + name)):
                raise ValueError(
                    f"state[{name!r}] must have shape {np.shape(getattr(self, '_' + name))}, got {array.shape}"
                )
        for name, array in arrays.items():
            mine = getattr(self, "_" + name)
            if isinstance(mine, np.ndarray):
                mine[...] = array
            else:
                setattr(self, "_" + name, int(array))


class SGD(_Optimizer):
    """Gradient descent with momentum (Polyak 1964), Nesterov's form (Sutskever 2013) and weight decay.

    v = momentum*v + g; params -= lr*v, or lr*(g + momentum*v) with nesterov.
    """

    def __init__(self, params, grads, lr=1e-2, *, momentum=0.0, nesterov=False, weight_decay=0.0):
        super().__init__(params, grads, lr, weight_decay)
        self.momentum = _core.number(momentum, "momentum", 0)
        self.nesterov = bool(nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        self._velocity = self._zeros() if self.momentum else None
        self._state = ("velocity",) if self.momentum else ()

    def step(self) -> None:
        """One update of params by grads."""
        _core.sgd_step(
            self._params, self._grads, self._velocity, self._lr, self.momentum, self.nesterov, self.weight_decay
        )


class RMSprop(_Optimizer):
    """Steps divided by a running root mean square of the gradient (Tieleman & Hinton 2012)."""

    _state = ("square",)

    def __init__(self, params, grads, lr=1e-2, *, alpha=0.99, eps=1e-8, weight_decay=0.0):
        super().__init__(params, grads, lr, weight_decay)
        self.alpha = _core.number(alpha, "alpha", 0, 1)
        self.eps = _core.number(eps, "eps", 0)
        self._square = self._zeros()

    def step(self) -> None:
        """One update of params by grads."""
        _core.rmsprop_step(self._params, self._grads, self._square, self._lr, self.alpha, self.eps, self.weight_decay)


class Adagrad(_Optimizer):
    """Steps divided by the root of the sum of all squared gradients (Duchi, Hazan, Singer 2011)."""

    _state = ("square",)

    def __init__(self, params, grads, lr=1e-2, *, eps=1e-10, initial_accumulator_value=0.0, weight_decay=0.0):
        super().__init__(params, grads, lr, weight_decay)
        self.eps = _core.number(eps, "eps", 0)
        self._square = self._zeros(_core.number(initial_accumulator_value, "initial_accumulator_value", 0))

    def step(self) -> None:
        """One update of params by grads."""
        _core.adagrad_step(self._params, self._grads, self._square, self._lr, self.eps, self.weight_decay)


class Adam(_Optimizer):
    """Adam (Kingma & Ba 2015); decoupled=True takes weight decay out of the gradient: AdamW (Loshchilov 2019)."""

    _state = ("mean", "square", "steps")

    def __init__(self, params, grads, lr=1e-3, *, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False):
        super().__init__(params, grads, lr, weight_decay)
        below_one = float(np.nextafter(1.0, 0.0))
        try:
            beta1, beta2 = betas
        except (TypeError, ValueError):
            raise TypeError(f"betas must be two numbers, got {betas!r}") from None
        self.betas = (_core.number(beta1, "betas[0]", 0, below_one), _core.number(beta2, "betas[1]", 0, below_one))
        self.eps = _core.number(eps, "eps", 0)
        self.decoupled = bool(decoupled)
        self._mean, self._square, self._steps = self._zeros(), self._zeros(), 0

    def step(self) -> None:
        """One update of params by grads."""
        _core.adam_step(
            self._params,
            self._grads,
            self._mean,
            self._square,
            self._steps + 1,
            self._lr,
            self.betas[0],
            self.betas[1],
            self.eps,
            self.weight_decay,
            self.decoupled,
        )
        self._steps += 1
