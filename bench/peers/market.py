"""Matrices of the market, sessions x symbols, from Parquet."""
import numpy as np
import polars as pl


def matrix(path, value, days=None):
    """The days, the symbols and the values; NaN where there is no row."""
    frame = pl.read_parquet(path, columns=["symbol", "date", value])
    symbols = frame["symbol"].unique().sort()
    if days is None:
        days = frame["date"].unique().sort().to_numpy()
    row = np.searchsorted(days, frame["date"].to_numpy())
    column = frame["symbol"].cast(pl.Enum(symbols)).to_physical().to_numpy()
    out = np.full((len(days), len(symbols)), np.nan)
    out[row, column] = frame[value].to_numpy()
    return days, symbols, out


def best(scores, k):
    """The columns of the k best of each row, best first."""
    scores = np.where(np.isnan(scores), -np.inf, scores)
    top = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    top.sort(axis=1)
    order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1)


def settle(equity, cost, weights, holdings):
    """The equity after costs, E - c sum|w E' - h|, by Newton's method."""
    after = equity
    while True:
        sign = np.where(weights * after > holdings, 1.0, -1.0)
        next = (equity + cost * (sign @ holdings)) / (1 + cost * (sign @ weights))
        if not next < after:
            return after
        after = next
