"""Optimisers over flat arrays, in place: `opt = bptt.Adam(rnn.params, rnn.grads, lr=1e-3)`, then `opt.step()`."""

import weakref
from collections.abc import Mapping

import numpy as np

from . import _core
from ._checks import flag, index, number

RANGES = {4: (2.0**-149, float(np.finfo(np.float32).max)), 8: (2.0**-1074, float(np.finfo(np.float64).max))}
"""The least number above 0 and the largest, by the bytes of the type."""
MOST_STEPS = 2**53  # up to here float64, with which the core corrects Adam's means, has every integer


class _Optimizer:
    """What the optimisers share: the arrays, the learning rate, and the saved state.

    lr may be set between steps; the other hyperparameters are checked once, when the optimiser is made, and stay.
    """

    _state: tuple[str, ...] = ()  # names of the arrays that step() changes
    _networks: tuple[weakref.ref, ...] = ()  # of a copy: those that were copied with it, and whose arrays it has

    @property
    def weight_decay(self) -> float:
        """float: as given."""
        return self._weight_decay

    def __init__(self, params, grads, lr, weight_decay):
        self._params, self._grads = _core.optimizer_arrays(params, grads)
        self._weight_decay = self._checked(weight_decay, "weight_decay")
        self.lr = lr

    @property
    def lr(self) -> float:
        """float: the learning rate; may be set between steps."""
        return self._lr

    @lr.setter
    def lr(self, value):
        self._lr = self._checked_lr(value, "lr")

    def hyperparameters(self) -> dict[str, object]:
        """What the optimiser was made with, but for lr, which may change.

        Returns
        -------
        dict of str to object
            By the names of the properties.
        """
        names = [name for name in dir(type(self)) if isinstance(getattr(type(self), name), property)]
        return {name: getattr(self, name) for name in names if name != "lr"}

    def __repr__(self) -> str:
        shown = {"lr": self.lr} | self.hyperparameters()
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def _checked(self, value, name) -> float:
        """A finite float of at least 0 that is no other in the type of params: neither Inf nor a 0 that it was not."""
        x = number(value, name, 0)
        least, most = RANGES[self._params.itemsize]
        if x and not least <= x <= most:
            dtype = self._params.dtype
            raise ValueError(f"{name} must be 0 or in [{least:.2g}, {most:.2g}], the range of {dtype}, got {value!r}")
        return x

    def _checked_lr(self, value, name) -> float:
        return self._checked(value, name)

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

    def accumulators(self) -> list[np.ndarray]:
        """List what the optimiser keeps of each parameter.

        Returns
        -------
        list of numpy.ndarray
            The arrays themselves, of the shape of params: velocity, mean, square, those that there are.
        """
        arrays = [getattr(self, "_" + name) for name in self._state]
        return [array for array in arrays if array.shape == self._params.shape]

    def _zeros(self, value=0.0):
        return np.full(self._params.shape, value, self._params.dtype)

    def state_dict(self) -> dict:
        """Copy what load_state_dict needs to go on exactly here.

        Returns
        -------
        dict of str to numpy.ndarray
            lr, the accumulators, for Adam also the step count.
        """
        return {"lr": np.array(self._lr)} | {name: np.copy(getattr(self, "_" + name)) for name in self._state}

    def load_state_dict(self, state: Mapping) -> None:
        """Take the learning rate and the accumulators of another optimiser of the same kind and size.

        Parameters
        ----------
        state : mapping
            What state_dict returned.

        Raises
        ------
        ValueError, TypeError
            Unless every name, shape and dtype fits, every finite value is finite in the dtype of params, no square is
            negative and the step count is below 2**53; nothing is changed then. NaN and Inf, which a diverged training
            leaves, are taken as they are.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be a mapping of names to arrays, got {type(state).__name__}")
        if set(state) != {"lr", *self._state}:
            raise ValueError(f"state must have exactly the names {['lr', *self._state]}, got {list(state)}")
        new = {"_lr": self._checked_lr(_core.real_copy(state["lr"], "state['lr']", np.float64, ()), "state['lr']")}
        new |= {"_" + name: self._like_mine(name, state[name]) for name in self._state}
        vars(self).update(new)  # at once: Ctrl-C comes before or after

    def _like_mine(self, name, value):
        mine, label = getattr(self, "_" + name), f"state[{name!r}]"
        if name == "steps":
            count = index(np.asarray(value)[()], label, 0)
            if count >= MOST_STEPS:
                raise ValueError(f"{label} must be below 2**53, got {count}")
            return np.array(count, np.int64)
        value = _core.real_copy(value, label, mine.dtype, mine.shape)
        if name == "square" and (value < 0).any():
            raise ValueError(f"{label} must be at least 0, got {value.min()}")
        return value

    def step(self) -> None:
        """One update of params by grads.

        Raises
        ------
        RuntimeError
            If this is a copy and the network that was copied with it is gone: nobody could read what it updates.
        """
        for network in self._networks:
            if network() is None:
                raise RuntimeError(
                    "this optimiser is a copy, and the network copied with it is gone: copy both in one object, or use "
                    "state_dict() and load_state_dict()"
                )
        self._update()

    def _update(self) -> None:
        raise NotImplementedError

    def __getstate__(self):
        """Pickle and copy take the network of the arrays along and, in the copy, work on the copied network."""
        places = {name: _core.place_of(getattr(self, name), name[1:]) for name in ("_params", "_grads")}
        with places["_params"][0].lock:
            own = {"_" + name: np.copy(getattr(self, "_" + name)) for name in self._state}
        return vars(self) | own | places | {"_networks": ()}

    def __setstate__(self, state):
        vars(self).update(state)
        for name in ("_params", "_grads"):
            network, array, start, stop = state[name]
            setattr(self, name, getattr(network, array)[start:stop])
            self._networks += (weakref.ref(network),)


def check_made_for(optimizer, rnn) -> None:
    """A ValueError for an optimiser of bptt that was made with other arrays than the network's."""
    if isinstance(optimizer, _Optimizer) and not optimizer.works_on(rnn.params, rnn.grads):
        raise ValueError("optimizer must be made with this network's params and grads")


class SGD(_Optimizer):
    """Gradient descent with momentum (Polyak 1964), Nesterov's form (Sutskever 2013) and weight decay.

    g = grads + weight_decay*params; v = momentum*v + g; params -= lr*v, or lr*(g + momentum*v) with nesterov.

    Parameters
    ----------
    params, grads : numpy.ndarray
        C-contiguous arrays of one shape and dtype (float32 or float64) that do not overlap; step() changes params in
        place.
    lr, momentum, weight_decay : float
        At least 0; above 0 also in the dtype of params, where they are.
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
        self._momentum = self._checked(momentum, "momentum")
        self._nesterov = flag(nesterov, "nesterov")
        if self._nesterov and not self._momentum:
            raise ValueError("nesterov needs a momentum above 0")
        self._velocity = self._zeros() if self._momentum else None
        self._state = ("velocity",) if self._momentum else ()

    def _update(self):
        _core.sgd_step(
            self._params, self._grads, self._velocity, self._lr, self._momentum, self._nesterov, self._weight_decay
        )


class RMSprop(_Optimizer):
    """Steps divided by a running root mean square of the gradient (Tieleman & Hinton 2012).

    g = grads + weight_decay*params; s = alpha*s + (1-alpha)*g^2; params -= lr*g / (sqrt(s) + eps).

    Parameters
    ----------
    params, grads : numpy.ndarray
        C-contiguous arrays of one shape and dtype (float32 or float64) that do not overlap; step() changes params in
        place.
    lr, eps, weight_decay : float
        At least 0; above 0 also in the dtype of params, where they are.
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
        self._eps = self._checked(eps, "eps")
        self._square = self._zeros()

    def _update(self):
        _core.rmsprop_step(
            self._params, self._grads, self._square, self._lr, self._alpha, self._eps, self._weight_decay
        )


class Adagrad(_Optimizer):
    """Steps divided by the root of the sum of all squared gradients (Duchi, Hazan, Singer 2011).

    g = grads + weight_decay*params; s += g^2; params -= lr*g / (sqrt(s) + eps).

    Parameters
    ----------
    params, grads : numpy.ndarray
        C-contiguous arrays of one shape and dtype (float32 or float64) that do not overlap; step() changes params in
        place.
    lr, eps, weight_decay : float
        At least 0; above 0 also in the dtype of params, where they are.
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
        self._eps = self._checked(eps, "eps")
        self._square = self._zeros(self._checked(initial_accumulator_value, "initial_accumulator_value"))

    def _update(self):
        _core.adagrad_step(self._params, self._grads, self._square, self._lr, self._eps, self._weight_decay)


class Adam(_Optimizer):
    """Adam (Kingma & Ba 2015); decoupled=True takes weight decay out of the gradient: AdamW (Loshchilov 2019).

    g = grads + weight_decay*params; m = b1*m + (1-b1)*g; s = b2*s + (1-b2)*g^2; at step k
    params -= lr * m/(1-b1^k) / (sqrt(s/(1-b2^k)) + eps). With decoupled g = grads, and params are multiplied by
    1 - lr*weight_decay first.

    Parameters
    ----------
    params, grads : numpy.ndarray
        C-contiguous arrays of one shape and dtype (float32 or float64) that do not overlap; step() changes params in
        place.
    lr, eps, weight_decay : float
        At least 0; above 0 also in the dtype of params, where they are.
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
        try:
            beta1, beta2 = betas
        except (TypeError, ValueError):
            raise TypeError(f"betas must be two numbers, got {betas!r}") from None
        below_one = float(np.nextafter(1.0, 0.0))
        self._betas = (number(beta1, "betas[0]", 0, below_one), number(beta2, "betas[1]", 0, below_one))
        self._decoupled = flag(decoupled, "decoupled")
        super().__init__(params, grads, lr, weight_decay)
        self._eps = self._checked(eps, "eps")
        self._mean, self._square, self._steps = self._zeros(), self._zeros(), np.array(0, np.int64)

    def _checked_lr(self, value, name):
        """The core divides lr by 1 - b1^k, and with decoupled takes lr*weight_decay: these must not be Inf either."""
        lr, most = super()._checked_lr(value, name), RANGES[self._params.itemsize][1]
        if lr / (1 - self._betas[0]) > most or (self._decoupled and lr * self._weight_decay > most):
            raise ValueError(
                f"{name}/(1-betas[0]) and, with decoupled, {name}*weight_decay must be within the range of "
                f"{self._params.dtype}, got {value!r}"
            )
        return lr

    def _update(self):
        _core.adam_step(
            self._params,
            self._grads,
            self._mean,
            self._square,
            self._steps,
            self._lr,
            self._betas[0],
            self._betas[1],
            self._eps,
            self._weight_decay,
            self._decoupled,
        )
