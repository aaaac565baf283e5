"""Optimisers over flat arrays, in place: `opt = bptt.Adam(rnn.params, rnn.grads, lr=1e-3)`, then `opt.step()`."""

import numpy as np

from . import _core
from ._checks import flag, index, number


class _Optimizer:
    """What the optimisers share: the arrays, the learning rate, and the saved state.

    lr may be set between steps; the other hyperparameters are checked once, when the optimiser is made, and stay.
    """

    _state: tuple[str, ...] = ()  # names of the attributes that step() changes

    @property
    def weight_decay(self) -> float:
        """float: as given."""
        return self._weight_decay

    def __init__(self, params, grads, lr, weight_decay):
        self._params, self._grads = _core.optimizer_arrays(params, grads)
        self.lr = lr
        self._weight_decay = number(weight_decay, "weight_decay", 0)

    @property
    def lr(self) -> float:
        """float: the learning rate; may be set between steps."""
        return self._lr

    @lr.setter
    def lr(self, value):
        self._lr = number(value, "lr", 0)

    def works_on(self, params, grads) -> bool:
        """Whether the optimiser was made for these arrays.

        Parameters
        ----------
        params, grads : numpy.ndarray
            Such as those of a network.

        Returns
        -------
        bool
        """
        return np.shares_memory(self._params, params) and np.shares_memory(self._grads, grads)

    def _zeros(self, value=0.0):
        return np.full(self._params.shape, value, self._params.dtype)

    def state_dict(self) -> dict:
        """Copy what load_state_dict needs to go on exactly here.

        Returns
        -------
        dict of str to numpy.ndarray
            The accumulators, for Adam also the step count.
        """
        return {name: np.copy(getattr(self, "_" + name)) for name in self._state}

    def load_state_dict(self, state: dict) -> None:
        """Take the state of another optimiser of the same kind and size.

        Parameters
        ----------
        state : dict
            What state_dict returned.

        Raises
        ------
        ValueError, TypeError
            Unless every name, shape and dtype fits; nothing is changed then.
        """
        if set(state) != set(self._state):
            raise ValueError(f"state must have exactly the names {list(self._state)}, got {list(state)}")
        new = {name: self._like_mine(name, state[name]) for name in self._state}
        for name, value in new.items():
            if isinstance(value, np.ndarray):
                getattr(self, "_" + name)[...] = value
            else:
                setattr(self, "_" + name, value)

    def _like_mine(self, name, value):
        mine = getattr(self, "_" + name)
        if not isinstance(mine, np.ndarray):
            return index(np.asarray(value)[()], f"state[{name!r}]", 0)
        value = np.asarray(value)
        if value.dtype.kind not in "fiu":
            raise TypeError(f"state[{name!r}] must be an array of real numbers, got {value.dtype}")
        if value.shape != mine.shape:
            raise ValueError(f"state[{name!r}] must have shape {mine.shape}, got {value.shape}")
        return value.astype(mine.dtype)


class SGD(_Optimizer):
    """Gradient descent with momentum (Polyak 1964), Nesterov's form (Sutskever 2013) and weight decay.

    g = grads + weight_decay*params; v = momentum*v + g; params -= lr*v, or lr*(g + momentum*v) with nesterov.

    Parameters
    ----------
    params, grads : numpy.ndarray
        C-contiguous arrays of one shape and dtype (float32 or float64); step() changes params in place.
    lr, momentum, weight_decay : float
        At least 0.
    nesterov : bool
        Needs a momentum above 0.
    """

    @property
    def momentum(self) -> float:
        """float: as given."""
        return self._momentum

    @property
    def nesterov(self) -> bool:
        """bool: as given."""
        return self._nesterov

    def __init__(self, params, grads, lr=1e-2, *, momentum=0.0, nesterov=False, weight_decay=0.0):
        super().__init__(params, grads, lr, weight_decay)
        self._momentum = number(momentum, "momentum", 0)
        self._nesterov = flag(nesterov, "nesterov")
        if self._nesterov and not self._momentum:
            raise ValueError("nesterov needs a momentum above 0")
        self._velocity = self._zeros() if self._momentum else None
        self._state = ("velocity",) if self._momentum else ()

    def step(self) -> None:
        """One update of params by grads."""
        _core.sgd_step(
            self._params, self._grads, self._velocity, self._lr, self._momentum, self._nesterov, self._weight_decay
        )


class RMSprop(_Optimizer):
    """Steps divided by a running root mean square of the gradient (Tieleman & Hinton 2012).

    g = grads + weight_decay*params; s = alpha*s + (1-alpha)*g^2; params -= lr*g / (sqrt(s) + eps).

    Parameters
    ----------
    params, grads : numpy.ndarray
        C-contiguous arrays of one shape and dtype (float32 or float64); step() changes params in place.
    lr, eps, weight_decay : float
        At least 0.
    alpha : float
        In [0, 1].
    """

    _state = ("square",)

    @property
    def alpha(self) -> float:
        """float: as given."""
        return self._alpha

    @property
    def eps(self) -> float:
        """float: as given."""
        return self._eps

    def __init__(self, params, grads, lr=1e-2, *, alpha=0.99, eps=1e-8, weight_decay=0.0):
        super().__init__(params, grads, lr, weight_decay)
        self._alpha = number(alpha, "alpha", 0, 1)
        self._eps = number(eps, "eps", 0)
        self._square = self._zeros()

    def step(self) -> None:
        """One update of params by grads."""
        _core.rmsprop_step(
            self._params, self._grads, self._square, self._lr, self._alpha, self._eps, self._weight_decay
        )


class Adagrad(_Optimizer):
    """Steps divided by the root of the sum of all squared gradients (Duchi, Hazan, Singer 2011).

    g = grads + weight_decay*params; s += g^2; params -= lr*g / (sqrt(s) + eps).

    Parameters
    ----------
    params, grads : numpy.ndarray
        C-contiguous arrays of one shape and dtype (float32 or float64); step() changes params in place.
    lr, eps, weight_decay : float
        At least 0.
    initial_accumulator_value : float
        s before the first step, at least 0.
    """

    _state = ("square",)

    @property
    def eps(self) -> float:
        """float: as given."""
        return self._eps

    def __init__(self, params, grads, lr=1e-2, *, eps=1e-10, initial_accumulator_value=0.0, weight_decay=0.0):
        super().__init__(params, grads, lr, weight_decay)
        self._eps = number(eps, "eps", 0)
        self._square = self._zeros(number(initial_accumulator_value, "initial_accumulator_value", 0))

    def step(self) -> None:
        """One update of params by grads."""
        _core.adagrad_step(self._params, self._grads, self._square, self._lr, self._eps, self._weight_decay)


class Adam(_Optimizer):
    """Adam (Kingma & Ba 2015); decoupled=True takes weight decay out of the gradient: AdamW (Loshchilov 2019).

    g = grads + weight_decay*params; m = b1*m + (1-b1)*g; s = b2*s + (1-b2)*g^2; at step k
    params -= lr * m/(1-b1^k) / (sqrt(s/(1-b2^k)) + eps). With decoupled g = grads, and params are multiplied by
    1 - lr*weight_decay first.

    Parameters
    ----------
    params, grads : numpy.ndarray
        C-contiguous arrays of one shape and dtype (float32 or float64); step() changes params in place.
    lr, eps, weight_decay : float
        At least 0.
    betas : pair of float
        (b1, b2), each in [0, 1).
    decoupled : bool
        Whether weight decay acts on the parameters instead of the gradient.
    """

    _state = ("mean", "square", "steps")

    @property
    def betas(self) -> tuple[float, float]:
        """pair of float: as given."""
        return self._betas

    @property
    def eps(self) -> float:
        """float: as given."""
        return self._eps

    @property
    def decoupled(self) -> bool:
        """bool: as given."""
        return self._decoupled

    def __init__(self, params, grads, lr=1e-3, *, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False):
        super().__init__(params, grads, lr, weight_decay)
        below_one = float(np.nextafter(1.0, 0.0))
        try:
            beta1, beta2 = betas
        except (TypeError, ValueError):
            raise TypeError(f"betas must be two numbers, got {betas!r}") from None
        self._betas = (number(beta1, "betas[0]", 0, below_one), number(beta2, "betas[1]", 0, below_one))
        self._eps = number(eps, "eps", 0)
        self._decoupled = flag(decoupled, "decoupled")
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
            self._betas[0],
            self._betas[1],
            self._eps,
            self._weight_decay,
            self._decoupled,
        )
        self._steps += 1
