"""What the trials say about the score as a function of the hyperparameters, with its uncertainty.

A Gaussian process whose covariance is a sum over products of the axes' functions (see `terms.py`).
The prior variance of a product is a strength for its order, times a relevance for each of its axes,
times a weight that falls with the degree as the axis's length scale says. All of those, and the
seed noise, are themselves sampled (Hamiltonian Monte Carlo), since intervals that take them
as known are too narrow. Each draw then is one whole function that the trials allow.

Source: Lu, Boukouvalas and Hensman 2022 (orthogonal additive kernels); Neal 2011 (HMC); Wilson et
al. 2020 (draws by a prior function and its correction); Tobin 1958 and Chib 1992 (censored scores).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import log_ndtr, ndtri_exp

from reports.sensitivity.axis import Floats
from reports.sensitivity.terms import HIGHEST_ORDER, Terms

# Prior means and standard deviations of the logarithms, for scores of variance 1. Relevance is wide
# to the left: most parameters of a real sweep do nothing, and must be allowed to. Chosen on sweeps of
# bench/calibration.py with other seeds than those of its table; what was tried stands beside that.
RELEVANCE = (-2.5, 4.0)
LENGTH = (math.log(0.6), 0.6)
STRENGTH = ((0.0, 2.0), (math.log(0.5), 2.0), (math.log(0.2), 2.0))
NOISE = (math.log(0.4), 1.0)
LOG_NOISE = (-16.0, 20.0)  # beyond these a leap has gone astray
MEAN_VARIANCE = 4.0
LEAPS = (3, 9)
TARGET_ACCEPTANCE = 0.8


@dataclass(frozen=True)
class Posterior:
    """S functions that the trials allow, in the score's own unit.

    coefficients_PS and intercept_S make the functions; noise_variance_S is that of the seed noise.
    """

    terms: Terms
    coefficients_PS: Floats
    intercept_S: Floats
    noise_variance_S: Floats

    def values(self, positions_MD: Floats) -> Floats:
        """Each function's score at points, shape (M, S); a NaN averages over that axis."""
        return self.terms.design(positions_MD) @ self.coefficients_PS + self.intercept_S

    def thinned(self, most: int = 120) -> "Posterior":
        """Every k-th function, `most` of them or a few more: enough for an interval."""
        every = slice(None, None, max(1, len(self.intercept_S) // most))
        return Posterior(
            self.terms,
            self.coefficients_PS[:, every],
            self.intercept_S[every],
            self.noise_variance_S[every],
        )


class Surrogate:
    """The posterior over functions, given N trials' positions and scores.

    A score is known where low_N equals high_N; elsewhere it is only known to lie between them
    (a pruned trial's bound). Units are the score's. `noise_variance` fixes the noise (for
    outcomes that are yes or no, whose unit is then the noise's).
    """

    def __init__(
        self,
        terms: Terms,
        positions_ND: Floats,
        low_N: Floats,
        high_N: Floats,
        noise_variance: float | None = None,
    ) -> None:
        self.terms = terms
        self.features_NP = terms.design(positions_ND)
        self.count, self.width = self.features_NP.shape
        self._open = low_N < high_N
        known = low_N[~self._open]
        self.centre, self.unit = 0.0, 1.0
        if noise_variance is None:
            self.centre = float(known.mean())
            self.unit = float(known.std()) or 1.0
        self._fixed_noise = noise_variance
        self._low_N = (low_N - self.centre) / self.unit
        self._high_N = (high_N - self.centre) / self.unit
        # An open score starts a little inside its bounds.
        inside = np.clip(0.0, self._low_N + 0.1, self._high_N - 0.1)
        self._scores_N = np.where(self._open, inside, self._low_N)
        self._smooth = [j for j, axis in enumerate(terms.axes) if axis.is_smooth]
        axes, smooth = len(terms.axes), len(self._smooth)
        self._strengths = slice(axes + smooth, axes + smooth + HIGHEST_ORDER)
        self.hyperparameters = axes + smooth + HIGHEST_ORDER + 1
        priors = [RELEVANCE] * axes + [LENGTH] * smooth + list(STRENGTH) + [NOISE]
        self._prior_mean_H, self._prior_sd_H = np.array(priors).T
        self._gram_PP: Floats | None = None
        if self.count > self.width + 1:
            full = np.column_stack([self.features_NP, np.ones(self.count)])
            self._gram_PP = full.T @ full

    def sample(
        self, rng: np.random.Generator, draws: int = 50, warm_up: int = 50, functions: int = 3
    ) -> tuple[Posterior, Floats]:
        """The posterior with 2 × draws × functions functions; and the hyperparameters' draws.

        Two chains, which adapt their step length during the warm-up. One starts at the most probable
        hyperparameters above the prior mean, the other above "all is relevant, and there is little
        noise": an interaction without main effects is easily missed from the first.
        """
        coefficients, intercepts, noises, states = [], [], [], []
        for start_H in (np.zeros(self.hyperparameters), self._all_relevant()):
            for state_H in self._chain(self._climb(start_H), rng, draws, warm_up):
                drawn_PS, drawn_S, noise = self._functions(state_H, rng, functions)
                coefficients.append(drawn_PS * self.unit)
                intercepts.append(drawn_S * self.unit + self.centre)
                noises.append(np.full(functions, noise * self.unit**2))
                states.append(state_H)
        posterior = Posterior(
            self.terms,
            np.concatenate(coefficients, axis=1),
            np.concatenate(intercepts),
            np.concatenate(noises),
        )
        return posterior, np.array(states)

    def _chain(
        self, state_H: Floats, rng: np.random.Generator, draws: int, warm_up: int
    ) -> Iterator[Floats]:
        """Hyperparameters after the warm-up."""
        logp, slope_H = self.log_density(state_H)
        log_step, steady, error = math.log(0.2), 0.0, 0.0
        for i in range(warm_up + draws):
            if self._open.any():
                self._redraw_open(state_H, rng)
                logp, slope_H = self.log_density(state_H)
            step = math.exp(log_step if i < warm_up else steady) * rng.uniform(0.8, 1.2)
            state_H, logp, slope_H, probability = self._move(state_H, logp, slope_H, step, rng)
            if i >= warm_up:
                yield state_H
                continue
            # Dual averaging, Hoffman and Gelman 2014, §3.2.
            error += (TARGET_ACCEPTANCE - probability - error) / (i + 11)
            log_step = min(math.log(0.4) - math.sqrt(i + 1) / 0.05 * error, 0.0)
            steady += (log_step - steady) * (i + 1) ** -0.75

    def _all_relevant(self) -> Floats:
        state_H = np.zeros(self.hyperparameters)
        state_H[: len(self.terms.axes)] = 0.6
        state_H[self._strengths] = 0.4
        state_H[-1] = -1.0
        return state_H

    def left_out(self, states_CH: Floats, group_N: NDArray[np.int_]) -> Floats:
        """Each trial's score as predicted without its whole group, (N,).

        Averaged over the hyperparameters' draws. A group is one configuration, on all its seeds.
        Source: Rasmussen and Williams 2006, §5.4.2, for blocks.
        """
        error_N = np.zeros(self.count)
        order = np.argsort(group_N, kind="stable")
        blocks = np.split(order, np.flatnonzero(np.diff(group_N[order])) + 1)
        for state_H in states_CH:
            scale_P, noise, _ = self._scales(state_H)
            scaled_NP = np.column_stack([self.features_NP * scale_P, self._ones()])
            factor, _ = self._factor(scale_P, noise)
            if self._gram_PP is None:
                inverse_NN = cho_solve((factor, True), np.eye(self.count), check_finite=False)
                pull_N = inverse_NN @ self._scores_N
                for block in blocks:
                    error_N[block] += np.linalg.solve(
                        inverse_NN[np.ix_(block, block)], pull_N[block]
                    )
                continue
            half = solve_triangular(factor, scaled_NP.T, lower=True, check_finite=False)
            residual_N = self._scores_N - half.T @ (half @ self._scores_N)
            for block in blocks:
                leverage = half[:, block].T @ half[:, block]
                error_N[block] += np.linalg.solve(np.eye(len(block)) - leverage, residual_N[block])
        predicted_N = self._scores_N - error_N / len(states_CH)
        return predicted_N * self.unit + self.centre

    def log_density(self, state_H: Floats) -> tuple[float, Floats]:
        """Logarithm of the hyperparameters' posterior density, up to a constant, and its gradient.

        state_H is in prior standard deviations from the prior mean.
        """
        scale_P, noise, slope_F = self._scales(state_H)
        try:
            factor, scaled_NP = self._factor(scale_P, noise)
        except (LinAlgError, ValueError):
            return -math.inf, np.zeros(self.hyperparameters)
        y_N = self._scores_N
        if self._gram_PP is None:
            pull_N = cho_solve((factor, True), y_N, check_finite=False)
            fit = float(y_N @ pull_N)
            half_log = float(np.log(np.diag(factor)).sum())
            assert scaled_NP is not None
            half_NP = solve_triangular(factor, scaled_NP, lower=True, check_finite=False)
            rooted_NN = solve_triangular(factor, np.eye(self.count), lower=True, check_finite=False)
            slope_P = 0.5 * ((scaled_NP.T @ pull_N) ** 2 - (half_NP**2).sum(axis=0))
            slope_noise = 0.5 * noise * float(pull_N @ pull_N - (rooted_NN**2).sum())
        else:
            full_P = np.append(scale_P, math.sqrt(MEAN_VARIANCE))
            target_P = full_P * self._projected()
            mean_P = cho_solve((factor, True), target_P, check_finite=False)
            inverse_root_PP = solve_triangular(
                factor, np.eye(len(full_P)), lower=True, check_finite=False
            )
            inverse_P = (inverse_root_PP**2).sum(axis=0)
            squares = float(y_N @ y_N)
            spare = self.count - len(full_P)
            fit = (squares - float(target_P @ mean_P)) / noise
            half_log = float(np.log(np.diag(factor)).sum()) + 0.5 * spare * math.log(noise)
            slope_P = 0.5 * (mean_P**2 - (1 - noise * inverse_P))[:-1]
            residual = squares - float(target_P @ mean_P) - noise * float(mean_P @ mean_P)
            trace = float(inverse_P.sum()) + spare / noise
            slope_noise = 0.5 * noise * (residual / noise**2 - trace)
        logp = -0.5 * fit - half_log - 0.5 * float(state_H @ state_H)
        slope_H = np.zeros(self.hyperparameters)
        terms, axes = self.terms, len(self.terms.axes)
        each_F = terms.function_in_FP @ slope_P
        for j in range(axes):
            slope_H[j] = each_F[terms.offsets_D[j] : terms.offsets_D[j + 1]].sum()
        for i, j in enumerate(self._smooth):
            functions = slice(terms.offsets_D[j], terms.offsets_D[j + 1])
            slope_H[axes + i] = each_F[functions] @ slope_F[functions]
        slope_H[self._strengths] = np.bincount(terms.order_P - 1, slope_P, minlength=HIGHEST_ORDER)
        if self._fixed_noise is None and noise not in np.exp(LOG_NOISE):
            slope_H[-1] = slope_noise
        if not (math.isfinite(logp) and np.isfinite(slope_H).all()):
            return -math.inf, np.zeros(self.hyperparameters)
        return logp, slope_H * self._prior_sd_H - state_H

    def _scales(self, state_H: Floats) -> tuple[Floats, float, Floats]:
        """Each product's prior standard deviation (P,), the noise variance, and the slope of the
        functions' log weights in their log length scale (F,).
        """
        eta_H = self._prior_mean_H + self._prior_sd_H * state_H
        terms, axes = self.terms, len(self.terms.axes)
        log_F, slope_F = np.zeros(terms.functions), np.zeros(terms.functions)
        lengths = dict(zip(self._smooth, eta_H[axes:], strict=False))
        for j, axis in enumerate(terms.axes):
            functions = slice(terms.offsets_D[j], terms.offsets_D[j + 1])
            weights, slope = axis.log_weights(lengths.get(j, 0.0))
            log_F[functions], slope_F[functions] = weights + eta_H[j], slope
        log_variance_P = terms.term_of_PF @ log_F + eta_H[self._strengths][terms.order_P - 1]
        noise = self._fixed_noise or math.exp(
            min(max(float(eta_H[-1]), LOG_NOISE[0]), LOG_NOISE[1])
        )
        return np.exp(0.5 * np.clip(log_variance_P, -80.0, 50.0)), noise, slope_F

    def _ones(self) -> Floats:
        return np.full(self.count, math.sqrt(MEAN_VARIANCE))

    def _projected(self) -> Floats:
        return np.append(self.features_NP.T @ self._scores_N, self._scores_N.sum())

    def _factor(self, scale_P: Floats, noise: float) -> tuple[Floats, Floats | None]:
        """Cholesky factor of the scores' covariance (N × N), or of its dual where N is larger."""
        if self._gram_PP is not None:
            full_P = np.append(scale_P, math.sqrt(MEAN_VARIANCE))
            dual_PP = self._gram_PP * np.outer(full_P, full_P)
            dual_PP[np.diag_indices(len(full_P))] += noise
            return cholesky(dual_PP, lower=True, check_finite=False), None
        scaled_NP = self.features_NP * scale_P
        covariance_NN = scaled_NP @ scaled_NP.T + MEAN_VARIANCE
        covariance_NN[np.diag_indices(self.count)] += noise
        return cholesky(covariance_NN, lower=True, check_finite=False), scaled_NP

    def _functions(
        self, state_H: Floats, rng: np.random.Generator, count: int
    ) -> tuple[Floats, Floats, float]:
        """Functions that the scores allow under these hyperparameters, for scores of variance 1."""
        scale_P, noise, _ = self._scales(state_H)
        factor, scaled_NP = self._factor(scale_P, noise)
        if self._gram_PP is None:
            assert scaled_NP is not None
            white_PS = rng.standard_normal((self.width, count))
            mean_S = math.sqrt(MEAN_VARIANCE) * rng.standard_normal(count)
            error_NS = math.sqrt(noise) * rng.standard_normal((self.count, count))
            away_NS = self._scores_N[:, None] - scaled_NP @ white_PS - mean_S - error_NS
            pull_NS = cho_solve((factor, True), away_NS, check_finite=False)
            drawn_PS = scale_P[:, None] * (white_PS + scaled_NP.T @ pull_NS)
            return drawn_PS, mean_S + MEAN_VARIANCE * pull_NS.sum(axis=0), noise
        full_P = np.append(scale_P, math.sqrt(MEAN_VARIANCE))
        mean_P = cho_solve((factor, True), full_P * self._projected(), check_finite=False)
        white_PS = rng.standard_normal((self.width + 1, count))
        spread_PS = solve_triangular(factor, white_PS, lower=True, trans="T", check_finite=False)
        whole_PS = full_P[:, None] * (mean_P[:, None] + math.sqrt(noise) * spread_PS)
        return whole_PS[:-1], whole_PS[-1], noise

    def _redraw_open(self, state_H: Floats, rng: np.random.Generator) -> None:
        """Draws the scores that are only bounded, given a function drawn from all of them."""
        drawn_PS, mean_S, noise = self._functions(state_H, rng, 1)
        open_ = self._open
        expected = self.features_NP[open_] @ drawn_PS[:, 0] + mean_S[0]
        sd = math.sqrt(noise)
        self._scores_N[open_] = expected + sd * _truncated(
            (self._low_N[open_] - expected) / sd, (self._high_N[open_] - expected) / sd, rng
        )

    def _climb(self, start_H: Floats) -> Floats:
        """The most probable hyperparameters that lie uphill."""

        def downhill(state_H: Floats) -> tuple[float, Floats]:
            logp, slope_H = self.log_density(state_H)
            return (-logp, -slope_H) if math.isfinite(logp) else (1e10, slope_H)

        found = minimize(
            downhill,
            start_H,
            jac=True,
            method="L-BFGS-B",
            bounds=[(-4.0, 4.0)] * self.hyperparameters,
            options={"maxiter": 30},
        )
        return np.asarray(found.x)

    def _move(
        self, state_H: Floats, logp: float, slope_H: Floats, step: float, rng: np.random.Generator
    ) -> tuple[Floats, float, Floats, float]:
        """One Hamiltonian proposal, taken or not; and the probability with which it was taken."""
        momentum_H = rng.standard_normal(self.hyperparameters)
        leaps = int(rng.integers(LEAPS[0], LEAPS[1] + 1))
        there_H, energy = state_H, logp - 0.5 * float(momentum_H @ momentum_H)
        momentum_H = momentum_H + 0.5 * step * slope_H
        there_logp, there_slope_H = logp, slope_H
        for leap in range(leaps):
            there_H = there_H + step * momentum_H
            there_logp, there_slope_H = self.log_density(there_H)
            if not math.isfinite(there_logp):
                return state_H, logp, slope_H, 0.0
            momentum_H = momentum_H + (step if leap < leaps - 1 else 0.5 * step) * there_slope_H
        gain = there_logp - 0.5 * float(momentum_H @ momentum_H) - energy
        probability = math.exp(min(0.0, gain))
        if rng.random() < probability:
            return there_H, there_logp, there_slope_H, probability
        return state_H, logp, slope_H, probability


def _truncated(low_M: Floats, high_M: Floats, rng: np.random.Generator) -> Floats:
    """Standard normal numbers between bounds, by the inverse of the log distribution function.

    Bounds far in the upper tail are mirrored, where the logarithm keeps its precision.
    """
    flip = low_M > 0
    below, above = np.where(flip, -high_M, low_M), np.where(flip, -low_M, high_M)
    log_below, log_above = log_ndtr(below), log_ndtr(above)
    share = rng.random(len(low_M))
    with np.errstate(divide="ignore"):
        mixed = np.logaddexp(log_below + np.log1p(-share), log_above + np.log(share))
    drawn = np.clip(ndtri_exp(mixed), below, above)
    return np.asarray(np.where(flip, -drawn, drawn))
