"""Learning rates over a training, beside torch's schedulers."""

import inspect
import pickle
import re
import warnings

import numpy as np
import pytest

import bptt
from bptt import schedule

STEPS = 60


def torch_rates(torch, peak, make, steps=STEPS):
    """The rates that a torch scheduler gives the first `steps` updates."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        with warnings.catch_warnings(action="ignore"):  # torch's own, of SequentialLR
            scheduler.step()
    return rates


def after_warmup(lr, optimizer, warmup, make):
    """Torch's linear warm-up to the peak, then another scheduler."""
    first = lr.LinearLR(optimizer, 1 / (warmup + 1), 1.0, total_iters=warmup)
    with warnings.catch_warnings(action="ignore"):
        return lr.SequentialLR(optimizer, [first, make(lr, optimizer)], [warmup])


CASES = {
    "constant": (schedule.constant(0.1, 7), lambda lr, o: lr.LinearLR(o, 1 / 8, 1.0, total_iters=7)),
    "cosine": (schedule.cosine(0.1, 0, STEPS, 0.02), lambda lr, o: lr.CosineAnnealingLR(o, STEPS, 0.02)),
    "cosine after a warm-up": (
        schedule.cosine(0.1, 9, STEPS),
        lambda lr, o: after_warmup(lr, o, 9, lambda lr, o: lr.CosineAnnealingLR(o, STEPS - 9)),
    ),
    "polynomial": (schedule.polynomial(0.1, 0, 40, 2.5), lambda lr, o: lr.PolynomialLR(o, 40, 2.5)),
    "polynomial after a warm-up": (
        schedule.polynomial(0.1, 5, 40),
        lambda lr, o: after_warmup(lr, o, 5, lambda lr, o: lr.PolynomialLR(o, 35)),
    ),
    "linear": (schedule.linear(0.1, 0, 50, 0.01), lambda lr, o: lr.LinearLR(o, 1.0, 0.1, total_iters=50)),
    "exponential": (schedule.exponential(0.1, 0.9), lambda lr, o: lr.ExponentialLR(o, 0.9)),
    "exponential after a warm-up": (
        schedule.exponential(0.1, 0.9, warmup=3),
        lambda lr, o: after_warmup(lr, o, 3, lambda lr, o: lr.ExponentialLR(o, 0.9)),
    ),
    "step": (schedule.step(0.1, 7, 0.5), lambda lr, o: lr.StepLR(o, 7, 0.5)),
    "step after a warm-up": (
        schedule.step(0.1, 7, 0.5, warmup=4),
        lambda lr, o: after_warmup(lr, o, 4, lambda lr, o: lr.StepLR(o, 7, 0.5)),
    ),
    "multistep": (schedule.multistep(0.1, [5, 6, 40]), lambda lr, o: lr.MultiStepLR(o, [5, 6, 40])),
    "multistep after a warm-up": (
        schedule.multistep(0.1, (15, 30), 0.3, warmup=4),
        lambda lr, o: after_warmup(lr, o, 4, lambda lr, o: lr.MultiStepLR(o, [11, 26], 0.3)),
    ),
    "restarts": (schedule.cosine_restarts(0.1, 8, 2, final=0.01),
                 lambda lr, o: lr.CosineAnnealingWarmRestarts(o, 8, 2, 0.01)),
    "equal restarts": (schedule.cosine_restarts(0.1, 8), lambda lr, o: lr.CosineAnnealingWarmRestarts(o, 8)),
    "sequence": (
        schedule.sequence([schedule.step(0.1, 3), schedule.exponential(0.1, 0.8), schedule.constant(0.1)], [10, 30]),
        lambda lr, o: lr.SequentialLR(o, [lr.StepLR(o, 3), lr.ExponentialLR(o, 0.8), lr.ConstantLR(o, 1.0)], [10, 30]),
    ),
    **{
        f"one cycle {options}": (
            schedule.one_cycle(0.1, STEPS, **options),
            lambda lr, o, options=options: lr.OneCycleLR(o, 0.1, total_steps=STEPS, cycle_momentum=False, **options),
        )
        for options in (
            {}, {"pct_start": 0.0}, {"pct_start": 1.0}, {"three_phase": True}, {"three_phase": True, "pct_start": 0.45},
            {"pct_start": 0.47, "div_factor": 3.0, "final_div_factor": 10.0},
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_torch(torch, name):
    ours, theirs = CASES[name]
    expected = torch_rates(torch, 0.1, theirs, STEPS - 1)  # OneCycleLR has no step behind its last
    np.testing.assert_allclose([ours(k) for k in range(STEPS - 1)], expected, rtol=1e-12, atol=1e-17)


@pytest.mark.parametrize("name", CASES)
def test_printed_and_pickled(name):
    ours, _ = CASES[name]
    again = pickle.loads(pickle.dumps(ours))
    assert again == ours
    assert [again(k) for k in range(STEPS)] == [ours(k) for k in range(STEPS)]
    assert eval(repr(ours), vars(schedule)) == ours
    assert all(isinstance(ours(k), float) for k in range(STEPS))


def test_keras_exponential_decay():
    ours = schedule.exponential(0.1, 0.96, every=100)
    assert ours(250) == pytest.approx(0.1 * 0.96**2.5, rel=1e-15)


@pytest.mark.parametrize("ours", [schedule.cosine(0.1, 3, 10, 0.03), schedule.linear(0.1, 3, 10, 0.03),
                                  schedule.polynomial(0.1, 3, 10, 2, 0.03), schedule.exponential(0.1, 0.1, final=0.03),
                                  schedule.step(0.1, 2, final=0.03),
                                  schedule.one_cycle(0.1, 10, div_factor=1, final_div_factor=10 / 3)],
                         ids=lambda s: type(s).__name__)  # fmt: skip
def test_the_final_rate_stays(ours):
    assert [ours(k) for k in (10, 11, 1000, 10**9)] == pytest.approx([0.03] * 4, rel=1e-12)
    assert max(ours(k) for k in range(10)) == pytest.approx(0.1)


def test_a_warm_up_begins_above_zero():
    rates = [schedule.cosine(1.0, 4, 10)(k) for k in range(5)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0], rel=1e-15)


@pytest.mark.parametrize("make, error, words", [
    (lambda: schedule.cosine(-1, 0, 9), ValueError, "peak must be a finite number"),
    (lambda: schedule.cosine("a", 0, 9), TypeError, "peak must be a number, got 'a'"),
    (lambda: schedule.cosine(1, -1, 9), ValueError, "warmup must be an integer of at least 0, got -1"),
    (lambda: schedule.cosine(1, 9, 9), ValueError, "total must be above warmup = 9, got 9"),
    (lambda: schedule.cosine(1, 1.5, 9), TypeError, "warmup must be an integer, got 1.5"),
    (lambda: schedule.cosine(1, 0, 9, np.inf), ValueError, "final must be a finite number"),
    (lambda: schedule.linear(1, 0, 0), ValueError, "total must be an integer of at least 1"),
    (lambda: schedule.polynomial(1, 0, 9, 0), ValueError, "power must be above 0"),
    (lambda: schedule.exponential(1, 0), ValueError, "gamma must be above 0, got 0"),
    (lambda: schedule.exponential(1, 0.9, 0), ValueError, "every must be an integer of at least 1"),
    (lambda: schedule.step(1, 2.5), TypeError, "every must be an integer"),
    (lambda: schedule.multistep(1, 5), TypeError, "milestones must be a sequence of at least one integer, got 5"),
    (lambda: schedule.multistep(1, []), TypeError, "milestones must be a sequence"),
    (lambda: schedule.multistep(1, "12"), TypeError, "milestones must be a sequence"),
    (lambda: schedule.multistep(1, [5, 5]), ValueError, r"milestones must be ascending, got \[5, 5\]"),
    (lambda: schedule.multistep(1, [5, "6"]), TypeError, r"milestones\[1\] must be an integer, got '6'"),
    (lambda: schedule.cosine_restarts(1, 5, 1.5), TypeError, "factor must be an integer"),
    (lambda: schedule.one_cycle(1, 1), ValueError, "total must be at least 2, got 1"),
    (lambda: schedule.one_cycle(1, 9, 1.5), ValueError, r"pct_start must be a finite number in \[0, 1\]"),
    (lambda: schedule.one_cycle(1, 9, three_phase=1), TypeError, "three_phase must be True or False"),
    (lambda: schedule.sequence([schedule.constant(1)], [3]), TypeError, "at least two functions"),
    (lambda: schedule.sequence([schedule.constant(1), 0.1], [3]), TypeError, "at least two functions"),
    (lambda: schedule.sequence([schedule.constant(1)] * 3, [3]), ValueError, "milestones must be 2 for 3 schedules"),
])  # fmt: skip
def test_bad_parameters(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_the_module_is_loaded_when_it_is_asked_for():
    assert bptt.schedule is schedule
    assert set(schedule.__all__) <= set(dir(schedule))


@pytest.mark.parametrize("name", schedule.__all__)
def test_docstrings_tell_each_parameter(name):
    """Some of their entries are filled in."""
    documented = getattr(schedule, name)
    if documented.__doc__ is None:
        pytest.skip("python -OO")
    entries = re.findall(r"^(\w+) : \w.*\n    \S", documented.__doc__, re.M)
    assert entries == list(inspect.signature(documented).parameters)
