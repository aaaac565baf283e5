from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import disjoint_base

from ._spec import Spec

_Reduction = Literal["mean", "sum"]
_StateIn = ArrayLike | tuple[ArrayLike, ArrayLike]  # h, for an LSTM (h, c); what comes back depends on the cell

CELLS: tuple[str, ...]

@disjoint_base
class Network:
    def __init__(self, spec: Spec, threads: int | None) -> None: ...
    @property
    def spec(self) -> Spec: ...
    @property
    def params(self) -> NDArray[Any]: ...
    @params.setter
    def params(self, value: ArrayLike) -> None: ...
    @property
    def grads(self) -> NDArray[Any]: ...
    @grads.setter
    def grads(self, value: ArrayLike) -> None: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def lock(self) -> Any: ...
    @property
    def dropout_state(self) -> tuple[int, int]: ...
    @dropout_state.setter
    def dropout_state(self, value: tuple[int, int]) -> None: ...
    @property
    def forward_steps(self) -> int: ...
    @property
    def states(self) -> int: ...
    @property
    def units(self) -> int: ...
    @property
    def threads(self) -> int | None: ...
    @threads.setter
    def threads(self, value: int | None) -> None: ...
    def tensors(self) -> list[tuple[str, int, tuple[int, ...]]]: ...
    def forward(
        self,
        x: ArrayLike,
        state: _StateIn | None = None,
        *,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
        checkpoint: int | Literal["auto"] | None = None,
        memory_budget: int | None = None,
        tape: bool = True,
    ) -> tuple[NDArray[Any], Any]: ...
    def backward(
        self,
        dy: ArrayLike | None,
        dstate: _StateIn | None = None,
        *,
        carry: ArrayLike | None = None,
        step_clip_norm: float | None = None,
        step_clip_value: float | None = None,
        step_norms: NDArray[Any] | None = None,
        input_grad: bool = True,
        state_grad: bool = True,
    ) -> tuple[NDArray[Any] | None, Any]: ...
    def zero_grad(self) -> None: ...

class TokenError(ValueError): ...

@final
class RollingTape:
    def __init__(
        self,
        network: Network,
        B: int,
        steps: int,
        capacity: int,
        state: NDArray[Any] | None,
        lengths: NDArray[Any] | None,
        checkpoint: int | Literal["auto"] | None,
        memory_budget: int | None,
    ) -> None: ...
    @property
    def checkpointed(self) -> bool: ...
    def close(self) -> None: ...
    def skip(self, x: NDArray[Any], reset: NDArray[Any] | None) -> None: ...
    def forward(
        self, x: NDArray[Any], reset: NDArray[Any] | None, before: int, keep: int
    ) -> tuple[NDArray[Any], Any]: ...
    def backward(
        self, dy: NDArray[Any], carry: NDArray[Any] | None, clip_norm: float, clip_value: float
    ) -> NDArray[Any]: ...

@final
class ParamMemory: ...

@final
class PooledTape: ...

@final
class Run:
    def __init__(
        self, network: Network, lengths: ArrayLike | None, seed: int | None, reset: ArrayLike | None = None
    ) -> None: ...
    @property
    def network(self) -> Network | None: ...
    @property
    def training(self) -> bool: ...
    def forward(
        self,
        x: NDArray[Any],
        params: NDArray[Any],
        state: Sequence[NDArray[Any] | None],
        keep: bool,
        every_state: bool = False,
    ) -> tuple[NDArray[Any], list[NDArray[Any]], NDArray[Any] | None]: ...
    def backward(
        self,
        x: NDArray[Any],
        params: NDArray[Any],
        tape: NDArray[Any],
        dy: NDArray[Any] | None,
        dstate: Sequence[NDArray[Any] | None],
        input_grad: bool,
        state_grad: bool,
        param_grads: bool,
    ) -> tuple[NDArray[Any] | None, list[NDArray[Any] | None], NDArray[Any] | None]: ...

@disjoint_base
class Stream:
    def __init__(self, network: Network, batch: int | None, state: _StateIn | None) -> None: ...
    @property
    def batch(self) -> int: ...
    @property
    def state(self) -> Any: ...
    @state.setter
    def state(self, value: _StateIn) -> None: ...
    def refresh(self) -> None: ...
    def reset(self, rows: ArrayLike | None = None) -> None: ...
    def __call__(self, x: ArrayLike, *, out: NDArray[Any] | None = None) -> NDArray[Any]: ...

def clip_grad_norm(array: Any | Iterable[Any], max_norm: float) -> float: ...
def clip_grad_value(array: Any | Iterable[Any], limit: float) -> float: ...
def mse(
    y: ArrayLike, target: ArrayLike, *, mask: ArrayLike | None = None, reduction: _Reduction = "mean"
) -> tuple[float, NDArray[Any]]: ...
def huber(
    y: ArrayLike,
    target: ArrayLike,
    *,
    delta: float = 1.0,
    mask: ArrayLike | None = None,
    reduction: _Reduction = "mean",
) -> tuple[float, NDArray[Any]]: ...
def cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    mask: ArrayLike | None = None,
    reduction: _Reduction = "mean",
    ignore_index: int = -100,
) -> tuple[float, NDArray[Any]]: ...
def binary_cross_entropy(
    logits: ArrayLike, target: ArrayLike, *, mask: ArrayLike | None = None, reduction: _Reduction = "mean"
) -> tuple[float, NDArray[Any]]: ...
def tensors_of(spec: Spec) -> Iterator[tuple[str, int, tuple[int, ...]]]: ...
def place_of(array: NDArray[Any], name: str) -> tuple[Network, str, int, int]: ...
def real_copy(value: ArrayLike, name: str, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]: ...
def optimizer_arrays(params: Any, grads: Any) -> tuple[NDArray[Any], NDArray[Any]]: ...
def sgd_step(
    params: NDArray[Any],
    grads: NDArray[Any],
    velocity: NDArray[Any] | None,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> None: ...
def rmsprop_step(
    params: NDArray[Any],
    grads: NDArray[Any],
    square: NDArray[Any],
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
) -> None: ...
def adagrad_step(
    params: NDArray[Any], grads: NDArray[Any], square: NDArray[Any], lr: float, eps: float, weight_decay: float
) -> None: ...
def adam_step(
    params: NDArray[Any],
    grads: NDArray[Any],
    mean: NDArray[Any],
    square: NDArray[Any],
    steps: NDArray[np.int64],
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None: ...
def window_at(T: int, k1: int, k2: int, index: int) -> tuple[int, int, int]: ...
def window_count(T: int, k1: int, k2: int) -> int: ...
def token_array(obj: Any, name: str, vocabulary: int) -> NDArray[Any]: ...
def checked_array(obj: Any, name: str, kinds: str, what: str) -> NDArray[Any]: ...
def checked_lengths(lengths: Any, T: int, B: int, name: str = "lengths") -> NDArray[Any]: ...
def checked_state(network: Network, state: Any, B: int) -> NDArray[Any]: ...
def free_locks() -> None: ...
def isa() -> str: ...
def isa_choices() -> list[str]: ...
def version() -> str: ...
