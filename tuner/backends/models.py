"""The models that trials leave in a run folder: those of trials that may still win are kept."""

import shutil

from tuner.ledger import Ledger
from tuner.points import Points
from tuner.run_folder import RunFolder


class Models:
    """Of the trials that this process knows to have left one; at first and at last of all of them."""

    def __init__(self, ledger: Ledger, folder: RunFolder, points: Points) -> None:
        self.ledger, self.folder, self.points = ledger, folder, points
        self._there = self._all()

    def add(self, number: int) -> None:
        """A trial has ended here and may have left its model."""
        self._there.add(number)

    def sweep_up(self) -> None:
        """Removes the models that cannot win any more."""
        # One glance: else a trial that ends between two questions is neither in flight nor the best.
        with self.ledger.glance():
            keep = {t.number for t in [*self.ledger.best_first()[:1], *self.points.candidates()]}
            keep |= {t.number for t in self.ledger.in_flight()}
            keep |= {int(t.user_attrs["confirms"]) for t in self.ledger.read_trials("confirm")}
        for number in self._there - keep:
            shutil.rmtree(self.folder.trial(number) / "model", ignore_errors=True)
        self._there &= keep

    def sweep_up_all(self) -> None:
        """Those of other workers too."""
        self._there = self._all()
        self.sweep_up()

    def _all(self) -> set[int]:
        return {trial.number for trial in self.ledger.read_trials()}
