"""What a worker runs next: first what was cut off, then what the sweep proposes; one worker at a time."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial

from tuner.errors import LedgerAway
from tuner.ledger import Ledger, purpose_of
from tuner.points import Points, Proposal
from tuner.space import Point
from tuner.storage import Busy, Turn
from tuner.sweep import LoadedSweep
from tuner.workers import Workers


@dataclass(frozen=True)
class Begun:
    """A running trial of this worker, ready for a process."""

    trial: optuna.Trial
    point: Point
    seed: int
    purpose: str
    chosen_by: str
    arguments: list[str]
    seconds_before: float = 0.0
    """What earlier attempts took"""
    reported: frozenset[int] = frozenset()
    """The steps that the ledger has of earlier attempts"""
    attempt: int = 1


class Making:
    """Makes trials in the ledger, or takes over those of workers that are gone."""

    def __init__(
        self, loaded: LoadedSweep, ledger: Ledger, points: Points, workers: Workers, turn: Turn
    ) -> None:
        self.loaded, self.ledger, self.points = loaded, ledger, points
        self.workers, self.turn = workers, turn

    def next(self, propose: Callable[[], Proposal | None], ours: Collection[int]) -> Begun | None:
        """The next trial; None where there is none now (others may still be running some).

        `ours` are the numbers of the trials that this process runs: one that the ledger says to be
        ours and that is none of them was made by a call whose answer was lost. Busy where it has to
        be asked again in a moment: another worker decides just now, or the database went away.
        """
        try:
            with self.turn.taken(), self.ledger.glance():
                return self._decide(propose, ours)
        except LedgerAway as exc:
            raise Busy from exc  # what was made all the same is found as one of ours

    def _decide(
        self, propose: Callable[[], Proposal | None], ours: Collection[int]
    ) -> Begun | None:
        if orphans := self.ledger.orphans(lambda trial: self.is_left(trial, ours)):
            return self._take_over(orphans[0])
        proposal = propose()
        return self._make(proposal) if proposal is not None else None

    def is_left(self, trial: FrozenTrial, ours: Collection[int]) -> bool:
        """Whether nobody runs this running trial: its worker is gone, or it is ours unbeknown."""
        worker = str(trial.user_attrs.get("worker", ""))
        if worker == self.workers.me:
            return trial.number not in ours
        return self.workers.gone(worker)

    def waits_for_others(self, purpose: str) -> int:
        """Trials of a purpose in flight that are not this worker's: each may come back to be taken over."""
        return sum(
            t.user_attrs.get("worker") != self.workers.me and "training_job" not in t.user_attrs
            and purpose_of(t) == purpose
            for t in self.ledger.in_flight()
        )  # fmt: skip

    def _make(self, proposal: Proposal) -> Begun:
        facts, point = proposal.attributes, proposal.point
        arguments = self.loaded.arguments(point, proposal.seed)
        self.turn.check()
        trial = self.ledger.start_at(
            point,
            self.points.space.distributions(),
            facts | {"arguments": arguments, "worker": self.workers.me},
            proposal.of_sampler,
        )
        return Begun(trial, point, proposal.seed, facts["purpose"], facts["chosen_by"], arguments)

    def _take_over(self, orphan: FrozenTrial) -> Begun:
        """The arguments are made anew: a database must not decide what runs here."""
        facts = orphan.user_attrs
        seed, point = int(facts["seed"]), dict(orphan.params)
        return Begun(
            self.ledger.take(orphan, self.workers.me),
            point,
            seed,
            str(facts.get("purpose", "search")),
            str(facts.get("chosen_by", "")),
            self.loaded.arguments(point, seed),
            float(facts.get("wall_seconds", 0.0)),
            frozenset(orphan.intermediate_values),
            int(facts.get("attempts", 1)) + 1,
        )
