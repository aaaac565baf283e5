"""What bptt.fit recorded."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class History:
    """What fit recorded: numbers of each epoch, and of each update."""

    loss: list[float] = field(default_factory=list)
    """mean training loss of each epoch"""
    val_loss: list[float] = field(default_factory=list)
    """validation loss after each epoch, empty without validation"""
    seconds: list[float] = field(default_factory=list)
    """time each epoch took"""
    update_loss: list[float] = field(default_factory=list)
    """loss of each update: of its window, or the mean of those whose gradients it accumulates"""
    grad_norm: list[float] = field(default_factory=list)
    """gradient norm of each update before clipping"""
    clip_norm: float | None = None
    """norm to which fit clipped the gradient; None: it did not"""
    lr: list[float] = field(default_factory=list)
    """learning rate of each update; empty where the optimiser has no number `lr`"""
    metrics: dict[str, list[float]] = field(default_factory=dict)
    """{name: mean of each epoch} over the training steps, from the outputs that the updates were made with"""
    val_metrics: dict[str, list[float]] = field(default_factory=dict)
    """{name: value after each epoch} over the validation, empty without"""
    best_epoch: int | None = None
    """with patience: the epoch, numbered from 0, whose parameters the network has at the end"""
    stopped: str | None = None
    """what ended the training before its last epoch: "patience", "callback" or "on_update"; None: nothing did"""
