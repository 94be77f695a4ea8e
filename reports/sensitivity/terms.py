"""Which products of the axes' functions a surrogate is made of."""

from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from reports.sensitivity.axis import Axis, Floats

MOST_TERMS = 800
HIGHEST_ORDER = 3
# Degrees of pairs and triples, from the richest; straight pairs are kept up to MOST_PAIRED terms.
DEGREES = ((7, 5), (7, 4), (6, 4), (6, 3), (5, 3), (4, 3), (4, 0), (3, 0), (2, 0))
MOST_PAIRED = 2000


class Terms:
    """Products of one, two or three axes' functions: the columns of a regression.

    The degree of a product is bounded so that at most about `MOST_TERMS` remain; with few axes
    that allows pairs up to degree 7 and triples up to degree 5, with thirty hardly more than
    straight pairs. Shapes below: N points, D axes, P products, F functions of all axes together.
    """

    def __init__(self, axes: list[Axis], most: int = MOST_TERMS) -> None:
        self.axes = axes
        self.offsets_D = np.cumsum([0, *(axis.size for axis in axes)])
        for pair_degree, triple_degree in DEGREES:
            found = self._choose(pair_degree, triple_degree, most)
            if len(found) <= most:
                break
        else:
            found = self._choose(*DEGREES[-1], MOST_PAIRED)
            if len(found) > MOST_PAIRED:
                found = self._choose(0, 0, most)
        self._products = [
            np.array([t for t in found if len(t) == order], dtype=int).reshape(-1, order)
            for order in range(1, HIGHEST_ORDER + 1)
        ]
        found = [tuple(t) for rows in self._products for t in rows]
        self.count = len(found)
        self.order_P: NDArray[np.int_] = np.array([len(t) for t in found], dtype=int)
        self.functions = int(self.offsets_D[-1])
        axis_of_F = np.repeat(np.arange(len(axes)), [axis.size for axis in axes])
        rows = [f for term in found for f in term]
        columns = [p for p, term in enumerate(found) for _ in term]
        self.function_in_FP = csr_matrix(
            (np.ones(len(rows)), (rows, columns)), (self.functions, self.count)
        )
        self.term_of_PF = self.function_in_FP.T.tocsr()
        self.uses_DP = np.zeros((len(axes), self.count), dtype=bool)
        self.uses_DP[axis_of_F[rows], columns] = True

    def design(self, positions_ND: Floats) -> Floats:
        """The products at points, shape (N, P)."""
        parts = [axis.features(positions_ND[:, j]) for j, axis in enumerate(self.axes)]
        functions_NF = np.concatenate([*parts, np.zeros((len(positions_ND), 0))], axis=1)
        blocks = [np.prod(functions_NF[:, rows], axis=2) for rows in self._products]
        return np.concatenate(blocks, axis=1)

    def _choose(self, pair_degree: int, triple_degree: int, most: int) -> list[tuple[int, ...]]:
        """The products within these degrees; stops soon after there are more than `most`."""
        chosen: list[tuple[int, ...]] = [(f,) for f in range(int(self.offsets_D[-1]))]
        degrees = [[k + 1 if axis.is_smooth else 1 for k in range(axis.size)] for axis in self.axes]
        for order, highest in ((2, pair_degree), (3, triple_degree)):
            for group in combinations(range(len(self.axes)), order) if highest >= order else ():
                if len(chosen) > most:
                    return chosen
                for ks in product(*(range(len(degrees[j])) for j in group)):
                    pairs = list(zip(group, ks, strict=True))
                    if sum(degrees[j][k] for j, k in pairs) <= highest:
                        chosen.append(tuple(int(self.offsets_D[j]) + k for j, k in pairs))
        return chosen
