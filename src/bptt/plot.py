"""Figures of what the library measures. They need matplotlib.

Every function draws into `ax`, or a new figure of pyplot, and returns the Axes; save by ax.figure.savefig(path).
Without matplotlib it raises ImportError.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ._diagnostics import LIMIT, GradientFlow
from ._history import History

__all__ = ["gradient_flow", "history"]

DARK, LIGHT, WARM = "#1f4e79", "#a9bdd2", "#d95f02"
MARKED = 60  # most points of a line that each get a marker
SINGLE = 1000  # most updates that are drawn one by one, beyond that by quantiles of stretches
STRETCHES, SHORTEST = 200, 10  # most stretches, fewest updates in one


def gradient_flow(flow: GradientFlow | Mapping[str, GradientFlow], ax=None):
    """Draw ||dL_t/dh_{t-k}|| / ||dL_t/dh_t|| over the distance k in steps, a line for every layer.

    Parameters
    ----------
    flow : bptt.GradientFlow, or mapping of str to bptt.GradientFlow
        What bptt.gradient_flow returned, or {label: flow} for several.
    ax : matplotlib.axes.Axes, optional
        Those of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        Without matplotlib.

    Notes
    -----
    Lines are medians over the anchor steps, shades reach from the lower to the upper quartile. The grey band is what
    the verdict "healthy" allows. Zeros, Inf and what comes near to them have no place on a log scale and are left out.
    """
    flows = flow if isinstance(flow, Mapping) else {"": flow}
    for label, one in flows.items():
        if not isinstance(one, GradientFlow):
            name = f"flow[{label!r}]" if flows is flow else "flow"
            raise TypeError(f"{name} must be a bptt.GradientFlow, got {type(one).__name__}")
    if not flows:
        raise ValueError("flow must hold at least one bptt.GradientFlow, got an empty mapping")
    ax = _axes(ax)
    for label, one in flows.items():
        for row, layer in enumerate(one.layers):
            name = ", ".join(filter(None, [label, layer if len(one.layers) > 1 or not label else ""]))
            text = f"{name}: factor {one.growth[row]:.4g} per step, {one.verdicts[row]}"
            (line,) = ax.plot(one.distance, _drawable(one.norms[row]), linewidth=1.8, label=text)
            quartiles = np.quantile(one.anchor_norms[row], [0.25, 0.75], axis=0, method="nearest")
            ax.fill_between(one.distance, *_drawable(quartiles), color=line.get_color(), alpha=0.2, linewidth=0)
    ax.axhspan(1 / LIMIT, LIMIT, color="0.93", zorder=0, linewidth=0, label=f"healthy: within a factor of {LIMIT:g}")
    ratio = r"$\Vert\partial L_t/\partial h_{t-k}\Vert\ /\ \Vert\partial L_t/\partial h_t\Vert$"
    ax.set(xlabel="distance $k$ (steps)", ylabel=ratio, yscale="log")
    ax.set_xlim(0, max(one.distance[-1] for one in flows.values()))
    _finish(ax)
    return ax


def history(history: History, ax=None):
    """Draw training and validation loss over the epochs; below it, with the same x axis, the gradient norm.

    Parameters
    ----------
    history : bptt.History
        What bptt.fit returned.
    ax : matplotlib.axes.Axes, optional
        Of a grid (pyplot.subplots); its lower third is taken for the gradient norm. Those of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        That of the loss; that of the gradient norm is ax.figure.axes[-1].

    Raises
    ------
    ImportError
        Without matplotlib.

    Notes
    -----
    The gradient norm is that before clipping; the broken line is clip_norm. The updates are drawn evenly spread over
    the epochs; where there are more than 1000, a line shows the median of each stretch of updates and a band reaches
    from their 10th to their 90th percentile. A star marks the best validation loss; with patience the epoch whose
    parameters the network has. The loss has a log scale where it
    is positive and changes by a factor of 10 or more.
    """
    if not isinstance(history, History):
        raise TypeError(f"history must be a bptt.History, got {type(history).__name__}")
    if not history.loss:
        raise ValueError("history must hold at least one epoch, got none")
    ax, below = _split(_axes(ax))
    epochs = len(history.loss)
    if len(history.update_loss) > epochs:  # otherwise the means are the updates
        _plot_updates(ax, epochs, history.update_loss, LIGHT, "training")
    _plot_epochs(ax, history.loss, DARK, "training, mean of the epoch")
    _plot_epochs(ax, history.val_loss, WARM, "validation")
    _mark_best(ax, history)
    _plot_updates(below, epochs, history.grad_norm, DARK)
    if history.clip_norm is not None:
        label = f"clip_norm = {history.clip_norm:g}"
        below.axhline(history.clip_norm, color=WARM, linestyle="--", linewidth=1, label=label)
    ax.set(ylabel="loss", yscale=_scale([*history.update_loss, *history.loss, *history.val_loss]))
    ax.set_xlim(0, 1.02 * epochs)  # the last marker is whole
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.tick_params(labelbottom=False)
    below.set(xlabel="epoch", ylabel="gradient norm\nbefore clipping")
    below.set_yscale("log" if max(history.grad_norm, default=0) > 0 else "linear")
    _finish(ax)
    _finish(below)
    return ax


def _plot_epochs(ax, values, color, label):
    """A line with a point at the end of each epoch; nothing without values."""
    if values:
        marker = "o" if len(values) <= MARKED else None
        ax.plot(np.arange(1, len(values) + 1), values, marker=marker, color=color, markersize=4, label=label)


def _mark_best(ax, history):
    """A star at the epoch that patience found best, or at the least validation loss that is a number."""
    losses, what = (history.val_loss, "best validation") if history.val_loss else (history.loss, "best epoch")
    best, finite = history.best_epoch, np.isfinite(history.val_loss)
    if best is None and finite.any():
        best = int(np.argmin(np.where(finite, losses, np.inf)))
    if best is not None:
        star = {"color": WARM, "markersize": 13, "markeredgecolor": "white"}
        label = f"{what}: {losses[best]:.4g}, epoch {best + 1}"
        ax.plot(best + 1, losses[best], "*", **star, zorder=3, label=label)


def _plot_updates(ax, epochs, values, color, name=""):
    """Values of each update, spread over the epochs: points, a line, or the median and a band where they are many.
    The legend has them if they have a name."""
    count = len(values)
    x = np.arange(1, count + 1) * epochs / max(1, count)
    whats = "each update", "80 % of the updates", "median of the updates"
    each, most, middle = (name and f"{name}, {what}" for what in whats)
    if count <= SINGLE:
        marker = "o" if count <= MARKED else None
        ax.plot(x, values, color=color, marker=marker, markersize=2.5, linewidth=0.6, label=each)
        return
    stretches = np.array_split(np.array(values), min(STRETCHES, count // SHORTEST))
    low, median, high = np.transpose([np.quantile(s, [0.1, 0.5, 0.9], method="nearest") for s in stretches])
    centres = [s.mean() for s in np.array_split(x, len(stretches))]
    ax.fill_between(centres, low, high, color=color, alpha=0.4, linewidth=0, label=most)
    ax.plot(centres, median, color=color, linewidth=1, label=middle)


def _axes(ax):
    """ax, or the Axes of a new figure."""
    try:
        from matplotlib import pyplot
        from matplotlib.axes import Axes
    except ImportError as error:
        raise ImportError(f"bptt.plot needs matplotlib, which `pip install matplotlib` brings: {error}") from error
    if ax is None:
        return pyplot.subplots(figsize=(7, 4.5), layout="constrained")[1]
    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be a matplotlib Axes, got {type(ax).__name__}")
    return ax


def _split(ax):
    """ax made smaller, and new Axes in its lower third with the same x axis."""
    place = ax.get_subplotspec()
    if place is None:
        raise ValueError("ax must be Axes of a grid, such as those of pyplot.subplots, got Axes put at a position")
    upper, lower = place.subgridspec(2, 1, height_ratios=[2, 1], hspace=0.1)
    ax.set_subplotspec(upper)
    return ax, ax.figure.add_subplot(lower, sharex=ax)


def _finish(ax):
    ax.grid(alpha=0.3, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize="small", framealpha=0.8, edgecolor="none")


def _drawable(values):
    """The values, with NaN, which leaves a gap, for those without a logarithm or beyond matplotlib's margins."""
    return np.where((values > 1e-250) & (values < 1e250), values, np.nan)


def _scale(values):
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    return "log" if len(values) and values.min() > 0 and values.max() >= 10 * values.min() else "linear"
