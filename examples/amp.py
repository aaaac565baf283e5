"""A distortion pedal learnt from its sound, and files for audio plug-ins: python examples/amp.py [FOLDER]

The pedal is a circuit that is simulated here: a high-pass with gain, then a resistor into a capacitor with diodes, an
equation that is solved sample by sample. Plucked strings of many levels go through it. An LSTM of 40 units learns to do
the same at 44.1 kHz, by truncated BPTT over windows; its loss is the error-to-signal ratio (ESR) of both sounds after a
pre-emphasis filter (Wright, Damskägg, Juvela, Välimäki 2020). If torch is installed, the first windows are also
trained there, from the same values.

Printed are the ESR on held-out sound, which after a minute is 0.0006 to 0.003, and the seconds of an epoch. FOLDER gets
the network as RTNeural's JSON, as a .nam file, as C source and as a model file; held.wav, the held-out sound before the
pedal, behind it and behind the network; and a figure.
"""

import argparse
import copy
import time
import wave
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

import bptt

RATE = 44_100  # Hz
HIDDEN = 40
TRAIN_ROWS, HELD_ROWS, SECONDS = 32, 4, 1.5
EPOCHS, LR, CLIP_NORM = 16, 8e-3, 1.0
# An update every 256 samples, back over as many. The circuit forgets within about 10 samples, the slowest being its
# high-pass, so windows need not overlap, and short ones give more updates for the same time.
WINDOW = 256
BURN_IN = 1000  # samples until the state fits the sound: they count neither in training nor in the ESR
PRE_EMPHASIS = 0.95
COMPARED = 40  # windows that torch trains on
BAR = "{desc:8} |{bar:30}| {remaining} left"


# ---- the sound: plucked strings ---------------------------------------------------------------------------

SOFTNESS = 10  # of the pick: how often the noise is smoothed


def pluck(frequency, steps, rng):
    """A string: smoothed noise goes round in a delay line and loses its highs (Karplus & Strong 1983)."""
    string = rng.uniform(-2, 2, round(RATE / frequency))
    for _ in range(SOFTNESS):
        string = 0.5 * (string + np.roll(string, 1))
    periods = []
    for _ in range(steps // len(string) + 1):
        periods.append(string)
        string = 0.498 * (string + np.roll(string, 1))
    return np.concatenate(periods)[:steps]


def strings(rows, seconds, rng):
    """(T,rows): notes and chords at random times, each row with its own level."""
    steps = int(seconds * RATE)
    sound = np.zeros((steps, rows))
    for row in range(rows):
        level, step = 10 ** rng.uniform(-1.3, 0), 0
        while step < steps:
            lowest, loudness = 82.4 * 2 ** rng.uniform(0, 2.5), level * 10 ** rng.uniform(-0.6, 0)
            for semitones in rng.permutation([0, 4, 7, 12])[: rng.integers(1, 4)]:
                sound[step:, row] += loudness / 2 * pluck(lowest * 2 ** (semitones / 12), steps - step, rng)
            step += int(rng.uniform(0.1, 0.6) * RATE)
    return sound


# ---- the circuit ------------------------------------------------------------------------------------------

OVERSAMPLING = 4  # so that the highs which the diodes make do not fold back
DRIVE, HIGH_PASS = 20, 720  # gain of what is above so many Hz
R, C = 2200, 10e-9  # ohm, farad
SATURATION, THERMAL = 2.52e-9, 45.3e-3  # of the diodes: ampere, volt
VOLUME = 0.7


def resampled(sound, steps):
    """The sound with so many samples, by its spectrum."""
    spectrum = np.fft.rfft(sound, axis=0)
    other = np.zeros((steps // 2 + 1, sound.shape[1]), complex)
    both = min(len(spectrum), len(other))
    other[:both] = spectrum[:both]
    return np.fft.irfft(other, steps, axis=0) * (steps / len(sound))


def diodes(v):
    """Current through one diode and, the other way, two in series; and its derivative."""
    forward, backward = np.exp(v / THERMAL), np.exp(-v / (2 * THERMAL))
    return SATURATION * (forward - backward), SATURATION / THERMAL * (forward + backward / 2)


def pedal(sound):
    """(T,rows) behind the circuit: C dv/dt = (e - v) / R - diodes(v), with e the input behind the high-pass.

    Each step solves v1 = v + h/2 (dv/dt + dv1/dt) by Newton's method, for all rows at once.
    """
    h = 1 / (RATE * OVERSAMPLING)
    source = resampled(sound, OVERSAMPLING * len(sound))
    lows, v, slope = (np.zeros(sound.shape[1]) for _ in range(3))
    share = 1 - np.exp(-2 * np.pi * HIGH_PASS * h)
    outputs = np.empty_like(source)
    for step, u in enumerate(tqdm(source, desc="circuit", bar_format=BAR)):
        lows += share * (u - lows)
        e = u + DRIVE * (u - lows)
        known = v + h / 2 * slope
        change = np.inf
        while np.abs(change).max() > 1e-7:
            current, conductance = diodes(v)
            slope = ((e - v) / R - current) / C
            change = (v - known - h / 2 * slope) / (1 + h / 2 * (1 / R + conductance) / C)
            change = np.clip(change, -2 * THERMAL, 2 * THERMAL)  # farther away exp is nothing like its tangent
            v = v - change
        outputs[step] = v
    return VOLUME * resampled(outputs, len(sound))


# ---- the loss ---------------------------------------------------------------------------------------------


def emphasised(sound, before):
    """x[t] - 0.95 x[t-1], with `before` (1,B,1) as the sample before the first."""
    return sound - PRE_EMPHASIS * np.concatenate([before, sound[:-1]])


class EmphasisedESR:
    """sum (F(y) - F(target))^2 / sum F(target)^2 of a window, with F the pre-emphasis, over the seams of windows."""

    def __call__(self, y, target, start):
        error = y - target
        if start == BURN_IN:
            self.last_error = self.last_target = np.zeros_like(error[:1])
        filtered = emphasised(error, self.last_error)
        energy = np.sum(emphasised(target, self.last_target) ** 2) + 1e-5 * target.size  # of silence, too
        self.last_error, self.last_target = error[-1:], target[-1:]
        dy = filtered.copy()
        dy[:-1] -= PRE_EMPHASIS * filtered[1:]
        return np.sum(filtered**2) / energy, 2 / energy * dy


def esr(y, target):
    """Error-to-signal ratio, plain."""
    return np.sum((y - target)[BURN_IN:] ** 2) / np.sum(target[BURN_IN:] ** 2)


# ---- training ---------------------------------------------------------------------------------------------


def windows_of(sound):
    """How many windows one epoch has."""
    return -(-(len(sound) - BURN_IN) // WINDOW)


def train(rnn, dry, wet, epochs, rate):
    """[the loss of each window], and seconds of processor time; `rate` gives the learning rate of each update."""
    optimizer = bptt.Adam(rnn.params, rnn.grads)
    losses, loss, began = [], EmphasisedESR(), time.process_time()
    with tqdm(total=epochs * windows_of(dry), desc="training", bar_format=BAR) as bar:
        for _ in range(epochs):
            for w in rnn.windows(dry, wet, loss, truncation=bptt.TBPTT(WINDOW), burn_in=BURN_IN):
                optimizer.lr = rate(len(losses))
                rnn.clip_grad_norm(CLIP_NORM)
                optimizer.step()
                losses.append(w.loss)
                bar.update()
    return losses, time.process_time() - began


def train_in_torch(torch, rnn, dry, wet, rates):
    """The same in torch but for the loss, from the network's values, for as many windows as there are rates."""
    torch.set_num_threads(rnn.threads)
    lstm, readout = bptt.convert.to_torch(rnn)
    parameters = [*lstm.parameters(), *readout.parameters()]
    optimizer = torch.optim.Adam(parameters)
    inputs = torch.from_numpy(dry)
    with torch.no_grad():
        _, state = lstm(inputs[:BURN_IN])
    losses, loss, began = [], EmphasisedESR(), time.process_time()
    for rate in rates:
        start = BURN_IN + WINDOW * len(losses)
        h, state = lstm(inputs[start : start + WINDOW], [part.detach() for part in state])
        y = readout(h)
        value, dy = loss(y.detach().numpy(), wet[start : start + WINDOW], start)
        optimizer.zero_grad()
        y.backward(torch.from_numpy(dy))
        torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        losses.append(value)
    return losses, time.process_time() - began


def compare(untrained, dry, wet, rate, ours, epoch):
    """Print how long torch, if it is there, takes for an epoch, by its first windows."""
    try:
        import torch
    except ImportError:
        print("torch is not installed: bptt alone")
        return
    rates = [rate(update) for update in range(COMPARED)]
    theirs, seconds = train_in_torch(torch, untrained, dry, wet, rates)
    other = seconds / COMPARED * windows_of(dry)
    apart = max(abs(a - b) for a, b in zip(theirs, ours, strict=False))
    print(f"{other:.1f} s in torch, {other / epoch:.1f} times as long", end="")
    print(f"; the losses of the first {COMPARED} windows differ by {apart:.1g}")


# ---- files ------------------------------------------------------------------------------------------------


def write_files(rnn, held, folder):
    """What plug-ins, C programs and bptt load."""
    rms = np.sqrt(np.mean(held["circuit"] ** 2))
    bptt.convert.to_rtneural(rnn, folder / "amp.json", samplerate=RATE, metadata={"name": "diode clipper"})
    metadata = {"name": "diode clipper", "gear_type": "pedal", "loudness": float(20 * np.log10(rms))}
    bptt.convert.to_nam(rnn, folder / "amp.nam", sample_rate=RATE, metadata=metadata)
    bptt.convert.to_c(rnn, folder, name="amp")
    rnn.save(folder / "amp.safetensors")


def write_wav(sounds, path):
    """One sound after another, each as loud as 16 bits hold; each row of a sound after the one before."""
    pause = np.zeros(RATE // 2)
    parts = [np.concatenate([sound.T.ravel() / abs(sound).max(), pause]) for sound in sounds]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((32767 * np.concatenate(parts)).astype("<i2").tobytes())


def plot(held, losses, path):
    figure = Figure(figsize=(9, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1)
    row = int(np.argmax(abs(held["dry"]).max(0)))  # the loudest
    middle = BURN_IN + int(np.argmax(abs(held["dry"][BURN_IN:, row])))
    shown = slice(max(0, middle - 200), middle + 400)
    milliseconds = 1e3 * np.arange(len(held["dry"]))[shown] / RATE
    colours = {"dry": "#999999", "circuit": "#d95f02", "network": "#1f4e79"}
    for (name, sound), width in zip(held.items(), (1, 3, 1), strict=True):
        upper.plot(milliseconds, sound[shown, row], color=colours[name], linewidth=width, label=name)
    upper.set(xlabel="ms", title="Held-out sound")
    upper.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    window = min(20, len(losses))
    smooth = np.convolve(losses, np.ones(window) / window, "valid")
    lower.plot(np.arange(window, len(losses) + 1), smooth, color="#1f4e79", linewidth=1.2)
    lower.set(xlabel="update", ylabel="ESR with pre-emphasis", yscale="log", title="Training, mean of 20 updates")
    for ax in (upper, lower):
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    figure.savefig(path, dpi=120)


def arguments():
    parser = argparse.ArgumentParser(description="Learn a distortion pedal from its sound.")
    parser.add_argument("folder", nargs="?", type=Path, default="amp", help="for all files (default %(default)s)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    parser.add_argument("--quick", action="store_true", help="little sound, few updates, no torch")
    options = parser.parse_args()
    if options.epochs < 1 or options.seed < 0:
        parser.error("--epochs must be at least 1, --seed at least 0")
    return options


def main():
    options = arguments()
    options.folder.mkdir(parents=True, exist_ok=True)
    rows, seconds, epochs = (TRAIN_ROWS, SECONDS, options.epochs) if not options.quick else (8, 0.06, 12)
    rng = np.random.default_rng(options.seed)
    sound = strings(rows + HELD_ROWS, seconds, rng)
    dry, wet = (part.astype(np.float32)[..., None] for part in (sound, pedal(sound)))  # (T,B,1)
    train_part, held_part = np.s_[:, :rows], np.s_[:, rows:]

    rnn = bptt.RNN(1, HIDDEN, 1, cell="lstm", forget_bias=1.0, seed=rng, threads=1)
    print(f"{rnn}, {rows * seconds:.1f} s of sound")
    untrained = copy.deepcopy(rnn)
    rate = bptt.schedule.cosine(LR, warmup=20, total=epochs * windows_of(dry))
    losses, seconds = train(rnn, dry[train_part], wet[train_part], epochs, rate)
    epoch = seconds / epochs
    print(f"{epoch:.1f} s of processor time per epoch of {windows_of(dry)} windows")
    if not options.quick:
        compare(untrained, dry[train_part], wet[train_part], rate, losses, epoch)

    played, _ = rnn.forward(dry[held_part], tape=False)
    held = {"dry": dry[held_part], "circuit": wet[held_part], "network": played}
    held = {name: part[..., 0] for name, part in held.items()}
    ratios = [esr(part, wet[held_part]) for part in (played, dry[held_part])]
    print(f"held-out sound: ESR {ratios[0]:.5f}, that of the input {ratios[1]:.2f}")
    write_files(rnn, held, options.folder)
    write_wav(held.values(), options.folder / "held.wav")
    plot(held, losses, options.folder / "amp.png")
    print(f"files: {options.folder}")


if __name__ == "__main__":
    main()
