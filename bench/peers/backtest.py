"""Replays decisions with money with NumPy: fractional shares at the close,
weights of the equity after costs.

usage: backtest.py DECISIONS.parquet BARS.parquet COST_BPS OUT

It writes OUT.fills.parquet, OUT.positions.parquet, OUT.equity.parquet and
OUT.json, the figures.
"""
import json
import sys

import numpy as np
import polars as pl

from market import matrix, settle

decisions, bars, bps, out = sys.argv[1:]
cost = float(bps) / 1e4
days, symbols, price = matrix(bars, "adj_close")
frame = pl.read_parquet(decisions)
weights = np.zeros_like(price)
weights[np.searchsorted(days, frame["date"].to_numpy()), frame["symbol"].cast(pl.Enum(symbols)).to_physical().to_numpy()] = frame["weight"].to_numpy()
first = np.searchsorted(days, frame["date"].min())

cash, shares = 1e6, np.zeros(len(symbols))
equity, turnover = np.empty(len(days) - first), np.empty(len(days) - first)
fills, positions = [], []
for i, day in enumerate(range(first, len(days))):
    p, w = price[day], weights[day]
    holdings = shares * p
    after = settle(cash + holdings.sum(), cost, w, holdings)
    change = w * after - holdings
    traded = np.flatnonzero(change)
    money = change[traded]
    fees = np.abs(money) * cost
    cash = max(cash - money.sum() - fees.sum(), 0)
    shares = np.where(w > 0, w * after / p, 0)
    fills.append((np.full(len(traded), day), traded, money / p[traded], p[traded], fees))
    held = np.flatnonzero(shares)
    positions.append((np.full(len(held), day), held, shares[held], p[held]))
    equity[i] = cash + shares @ p
    turnover[i] = max(money[money > 0].sum(), -money[money < 0].sum()) / equity[i]


def table(rows, names, path):
    at, symbol, *rest = (np.concatenate(c) for c in zip(*rows))
    pl.DataFrame({"date": days[at], "symbol": symbols.gather(symbol), **dict(zip(names, rest))}).write_parquet(path)


table(fills, ["qty", "price", "costs"], out + ".fills.parquet")
table(positions, ["qty", "price"], out + ".positions.parquet")
pl.DataFrame({"date": days[first:], "equity": equity}).write_parquet(out + ".equity.parquet")
returns = np.diff(equity) / equity[:-1]
returns[0] = equity[1] / 1e6 - 1
n = len(returns)
peak = np.maximum(np.maximum.accumulate(equity), 1e6)
json.dump({
    "cagr": (equity[-1] / 1e6) ** (252 / n) - 1,
    "vol": returns.std(ddof=1) * 252**0.5,
    "sharpe": returns.mean() / returns.std(ddof=1) * 252**0.5,
    "max_dd": (equity / peak - 1).min(),
    "turnover": turnover[1:].sum() * 252 / n,
}, open(out + ".json", "w"))
