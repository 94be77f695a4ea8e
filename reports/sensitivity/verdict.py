"""Does a hyperparameter matter? Yes, no, or: the trials do not say."""

import math

from reports.sensitivity.interval import Interval

MATTERS, NEGLIGIBLE, CANNOT_TELL = "matters", "hardly matters", "cannot tell"
ONE_VALUE = "one value"  # nothing to vary: no question
MATTERS_ABOVE = 0.02
NEGLIGIBLE_BELOW = 0.10
MOST_NOISE = 0.95
FEWEST_MEASURED = 20
MOST_FACTOR = 20


def verdict_of(total: Interval, noise_share: Interval, r2: Interval, trials: int) -> str:
    """`hardly matters` where the whole interval of the total share lies below 0.10, else `matters` where
    it lies above 0.02, otherwise `cannot tell`. Measured in docs/calibration.md.

    Shares are of what the hyperparameters do at all. Where that may be next to nothing (seed noise
    may be 95 % of all variance), a large share of it does not matter yet. Nor does it with fewer trials
    than were ever measured, unless the surrogate surely predicts left-out configurations (`r2`).
    """
    if total.high < NEGLIGIBLE_BELOW:
        return NEGLIGIBLE
    proven = r2.low > 0 or trials >= FEWEST_MEASURED
    if total.low > MATTERS_ABOVE and noise_share.high < MOST_NOISE and proven:
        return MATTERS
    return CANNOT_TELL


def more_trials(total: Interval, trials: int) -> int | None:
    """About how many more trials would settle it; None where twenty times as many would not.

    An interval shrinks with the square root of the number of trials, about its estimate: so the
    number at which it leaves the region between the two limits. A rough figure, rounded up to tens.
    """
    if total.low > MATTERS_ABOVE:  # only that anything matters at all is open
        return max(10, 10 * math.ceil(trials / 10))
    options = []
    if total.estimate > MATTERS_ABOVE:
        options.append((total.estimate - total.low) / (total.estimate - MATTERS_ABOVE))
    if total.estimate < NEGLIGIBLE_BELOW:
        options.append((total.high - total.estimate) / (NEGLIGIBLE_BELOW - total.estimate))
    factor = min(options) ** 2
    if factor > MOST_FACTOR:
        return None
    return max(10, 10 * math.ceil((factor - 1) * trials / 10))
