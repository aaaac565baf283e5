"""The progress bar of bptt.fit."""

import math
from numbers import Real

BAR = "{desc} |{bar}| {elapsed}<{remaining}{postfix}"  # whole in 80 columns, unlike tqdm's own
WITHOUT_TOTAL = "{desc}, {n_fmt} windows{postfix}"


class Bar:
    """The progress bar, or nothing."""

    def __init__(self, epochs, windows, optimizer, shown):
        self.bar = None
        self.epochs, self.total = epochs, None if windows is None else epochs * windows
        self.optimizer, self.shown = optimizer, shown
        self.loss = self.norm = math.nan
        self.val_loss = ""

    def begin(self, epoch, windows):
        """Show the bar, in that epoch and after so many windows."""
        if self.shown:
            from tqdm.auto import tqdm

            form = BAR if self.total else WITHOUT_TOTAL
            self.bar = tqdm(desc=self._epoch(epoch), total=self.total, initial=windows, bar_format=form)

    def advance(self, loss, norm):
        """A window more; the norm is that of the last update."""
        if self.bar is not None:
            self.loss, self.norm = loss, norm
            self._tell()
            self.bar.update()

    def end_of_epoch(self, epoch, history):
        if self.bar is not None:
            if history.val_loss:
                self.val_loss = f", val {history.val_loss[-1]:.3g}"
            self._tell()
            self.bar.set_description_str(self._epoch(epoch + 1))

    def _epoch(self, epoch):
        return f"epoch {min(epoch + 1, self.epochs)}/{self.epochs}"

    def _tell(self):
        """Sets the numbers behind the bar, which tqdm shows when it next draws."""
        lr = getattr(self.optimizer, "lr", None)
        rate = f", lr {lr:.3g}" if isinstance(lr, Real) else ""
        self.bar.set_postfix_str(f"loss {self.loss:.3g}{self.val_loss}, norm {self.norm:.3g}{rate}", refresh=False)

    def close(self):
        if self.bar is not None:
            self.bar.close()
