"""Tries a strategy with every combination of a number of names and a maximum
weight: decides and replays each, having read the market once.

usage: sweep.py numpy|numba|vectorbt SIGNAL.parquet BARS.parquet FROM TOP_K,... MAX_WEIGHT,... COST_BPS OUT.parquet
"""
import sys
import time

import numpy as np
import polars as pl

from market import best, matrix, settle

how, signal, bars, first, ks, caps, bps, out = sys.argv[1:]
cost = float(bps) / 1e4
days, symbols, price = matrix(bars, "adj_close")
_, _, scores = matrix(signal, "value", days)
keep = days >= np.datetime64(first)
days, price, scores = days[keep], np.ascontiguousarray(price[keep]), scores[keep]
grid = [(int(k), float(cap)) for k in ks.split(",") for cap in caps.split(",")]
begin = time.perf_counter()
top = best(scores, max(k for k, _ in grid))


def weight(k, cap):
    w = min(1 / k, cap)
    return w / (w * k) if w * k > 1 else w


def with_numpy(k, cap):
    share = weight(k, cap)
    cash, shares = 1e6, np.zeros(price.shape[1])
    equity = np.empty(len(price))
    w = np.zeros(price.shape[1])
    for day in range(len(price)):
        p = price[day]
        w[:] = 0
        w[top[day, :k]] = share
        holdings = shares * p
        after = settle(cash + holdings.sum(), cost, w, holdings)
        change = w * after - holdings
        cash = max(cash - change.sum() - cost * np.abs(change).sum(), 0)
        shares = w * after / p
        equity[day] = cash + shares @ p
    return equity


if how == "numba":
    import numba

    @numba.njit
    def replay(price, top, k, share, cost):
        n = price.shape[1]
        cash, shares, w, holdings = 1e6, np.zeros(n), np.zeros(n), np.zeros(n)
        equity = np.empty(len(price))
        for day in range(len(price)):
            p = price[day]
            w[:] = 0
            for j in range(k):
                w[top[day, j]] = share
            total = cash
            for i in range(n):
                holdings[i] = shares[i] * p[i]
                total += holdings[i]
            after = total
            while True:
                slope, offset = 0.0, 0.0
                for i in range(n):
                    if w[i] * after > holdings[i]:
                        slope += w[i]
                        offset -= holdings[i]
                    else:
                        slope -= w[i]
                        offset += holdings[i]
                next = (total - cost * offset) / (1 + cost * slope)
                if not next < after:
                    break
                after = next
            equity[day] = 0.0
            for i in range(n):
                change = w[i] * after - holdings[i]
                cash -= change + cost * abs(change)
                shares[i] = w[i] * after / p[i]
                equity[day] += shares[i] * p[i]
            cash = max(cash, 0.0)
            equity[day] += cash
        return equity

    @numba.njit(parallel=True)
    def all_trials(price, top, ks, shares, cost):
        out = np.empty((len(ks), len(price)))
        for t in numba.prange(len(ks)):
            out[t] = replay(price, top, ks[t], shares[t], cost)
        return out

    curves = all_trials(price, top, np.array([k for k, _ in grid]), np.array([weight(k, cap) for k, cap in grid]), cost)
elif how == "vectorbt":
    import pandas as pd
    import vectorbt as vbt

    def with_vectorbt(k, cap):
        w = np.zeros_like(price)
        np.put_along_axis(w, top[:, :k], weight(k, cap), axis=1)
        held = np.vstack([np.zeros(price.shape[1], bool), w[:-1] > 0])
        w[(w == 0) & ~held] = np.nan  # nothing to do
        close = pd.DataFrame(price, index=days)
        return vbt.Portfolio.from_orders(close, w, size_type="targetpercent", fees=cost, init_cash=1e6, cash_sharing=True,
                                         group_by=True, call_seq="auto", freq="1D").value().to_numpy()

    curves = np.array([with_vectorbt(k, cap) for k, cap in grid])
else:
    curves = np.array([with_numpy(k, cap) for k, cap in grid])
returns = np.diff(curves) / curves[:, :-1]
returns[:, 0] = curves[:, 1] / 1e6 - 1
pl.DataFrame({
    "top_k": [k for k, _ in grid],
    "max_weight": [cap for _, cap in grid],
    "cagr": (curves[:, -1] / 1e6) ** (252 / returns.shape[1]) - 1,
    "sharpe": returns.mean(axis=1) / returns.std(axis=1, ddof=1) * 252**0.5,
    "seconds": (time.perf_counter() - begin) / len(grid),
}).write_parquet(out)
