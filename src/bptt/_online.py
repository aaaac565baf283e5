"""Learning at every step, forward in time: bptt.RTRL and bptt.SnAp1. What is hot lies in _core.Learner."""

from . import _core
from ._core import Network
from ._rnn import RNN


def _check(rnn, name):
    """An error unless forward-mode learning is defined for this network."""
    if not isinstance(rnn, Network):
        raise TypeError(f"rnn must be a bptt.RNN, got {type(rnn).__name__}")
    needed = {"num_layers": 1, "bidirectional": False, "recurrent_dropout": 0.0}
    for field, value in needed.items():
        if getattr(rnn.spec, field) != value:
            raise ValueError(f"{name} goes with {field}={value}, got {field}={getattr(rnn.spec, field)}")


class RTRL(_core.Learner):
    """Real-time recurrent learning: the exact gradient of every step's loss, forward in time (Williams & Zipser 1989).

    ``y = learner(x)`` is one step, ``learner.backward(dy)`` adds the gradient of its loss to ``rnn.grads``. No sequence
    is stored: memory does not depend on time, and no gradient is truncated.

    Parameters
    ----------
    rnn : bptt.RNN
        Of one layer and one direction, without recurrent_dropout; any cell.
    batch : int
        B, the rows that go on side by side.

    Raises
    ------
    ValueError, TypeError
        If rnn is no such network.
    MemoryError
        If the learner does not fit into this machine's memory; nothing is allocated then.

    Notes
    -----
    The learner carries the influence J_t = ds_t/dtheta of the parameters on the state (h, for an LSTM h and c):
    J_t = D_t J_{t-1} + I_t with D_t = ds_t/ds_{t-1}, and the gradient of a step is (dl_t/ds_t) J_t. At fixed parameters
    these add up to the gradient of full BPTT. Where parameters change between the steps, each step takes them as they
    are, and J is that of the path that was taken, as if the parameters of each step had been variables of their own.

    J has B * S * P numbers, S = H (LSTM: 2 H) and P the parameters but those of the readout; a step takes about
    S * P operations in backward, and every k-th step S * S * P more, k = H/2 but at least 8 and at most 64: D_t is
    applied to J for k steps at once (Schmidhuber 1992), with the same result.

    Outputs are those of rnn.stream() up to rounding, and noise. A learner trains, so a network with noise has it: the
    first step after the learner was made, after reset() or after a state was assigned draws it as a forward with a tape
    does, and the steps that follow have that of the forward's steps, rows of reset(rows=...) too. From the same
    rnn.dropout_state T steps equal one forward and backward over T steps.

    Clipping and optimisers work on rnn.grads and rnn.params as ever. Results do not depend on threads.

    Examples
    --------
    >>> import numpy as np
    >>> import bptt
    >>> rnn = bptt.RNN(1, 8, 1, seed=0)
    >>> learner, optimizer = bptt.RTRL(rnn), bptt.Adam(rnn.params, rnn.grads, lr=1e-3)
    >>> for t in range(3):
    ...     y = learner(np.sin([0.1 * t]))
    ...     rnn.zero_grad()
    ...     learner.backward(y - np.sin([0.1 * (t + 1)]))  # gradient of error**2 / 2
    ...     optimizer.step()
    """

    def __init__(self, rnn: RNN, batch: int = 1) -> None:
        _check(rnn, "RTRL")
        super().__init__(rnn, _core.METHODS["RTRL"], batch)


class SnAp1(_core.Learner):
    """SnAp-1: an approximation of RTRL at a few times the cost of a step (Menick et al. 2021).

    Used as bptt.RTRL is. Of the influence matrix only the entries of each parameter for its own unit are kept.

    Parameters
    ----------
    rnn : bptt.RNN
        As for bptt.RTRL, but no GRU with reset_after=False, whose reset gate acts on all units within a step.
    batch : int
        B, the rows that go on side by side.

    Raises
    ------
    ValueError, TypeError, MemoryError
        As bptt.RTRL.

    Notes
    -----
    D_t = ds_t/ds_{t-1} acts on what is kept by its diagonal, for an LSTM by the 2 x 2 block of (h, c) of each unit. The
    gradient is biased: it sees a unit's memory of itself, not the way through other units. It is exact where W_hh is
    diagonal (of gated cells the block of each gate).

    The influence has B * P numbers, P the parameters but those of the readout (LSTM: twice as many); time grows as they
    do. With num_embeddings each entry of the table acts on all units: it counts as H parameters (LSTM: 2 H), and its
    influence takes H (2 H) times as many operations, as in RTRL. one_hot has no such cost.

    A step or its backward that takes a few microseconds keeps the GIL: without num_embeddings, where the numbers of
    the influence and B * (O * H + 2048) are together at most 32,768.

    Outputs, noise and the path of changing parameters are as in bptt.RTRL.
    """

    def __init__(self, rnn: RNN, batch: int = 1) -> None:
        _check(rnn, "SnAp1")
        if not rnn.spec.reset_after:
            raise ValueError(
                "SnAp1 goes with reset_after=True, got reset_after=False: there the parameters of the reset gate act "
                "on all units within a step, so that no entry of the influence would be left out; use RTRL"
            )
        super().__init__(rnn, _core.METHODS["SnAp1"], batch)
