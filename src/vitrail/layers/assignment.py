"""Linear sum assignment (Hungarian matching)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def assign(cost: NDArray[np.float64]) -> tuple[Indices, Indices]:
    """Solve the linear sum assignment problem: match rows with columns one to one at the least total cost.

    Of a rectangular matrix, some entries of the longer side stay unmatched. The algorithm adds one row at a time along
    the shortest augmenting path to a free column, in costs reduced by the dual variables (potentials) of the rows and
    columns matched so far. The search within a row is vectorised over the columns.

    Parameters
    ----------
    cost : ndarray
        Costs [R, C], all finite.

    Returns
    -------
    rows, columns : ndarray of int
        Indices of the `min(R, C)` matched pairs, sorted by row.

    References
    ----------
    Crouse, "On implementing 2D rectangular assignment algorithms", IEEE Transactions on Aerospace and Electronic
    Systems 52(4), 2016.
    """
    if cost.shape[0] > cost.shape[1]:
        columns, rows = assign(cost.T)
        order = np.argsort(rows)
        return rows[order], columns[order]
    num_rows, num_columns = cost.shape
    row_potential, column_potential = np.zeros(num_rows), np.zeros(num_columns)
    column_of = np.full(num_rows, -1)
    row_of = np.full(num_columns, -1)
    for start in range(num_rows):
        length = np.full(num_columns, np.inf)  # of the shortest path found so far to each column
        came_from = np.full(num_columns, -1)
        settled = np.zeros(num_columns, dtype=bool)
        row, travelled = start, 0.0
        while True:
            reached = travelled + cost[row] - row_potential[row] - column_potential
            shorter = ~settled & (reached < length)
            length[shorter] = reached[shorter]
            came_from[shorter] = row
            column = int(np.where(settled, np.inf, length).argmin())
            travelled = float(length[column])
            if row_of[column] < 0:
                break
            settled[column] = True
            row = int(row_of[column])
        slack = travelled - length[settled]
        row_potential[start] += travelled
        row_potential[row_of[settled]] += slack
        column_potential[settled] -= slack
        while True:  # augment: reassign the columns along the path, back to its first row
            row = int(came_from[column])
            row_of[column] = row
            column_of[row], column = column, int(column_of[row])
            if row == start:
                break
    return np.arange(num_rows), column_of
