"""The yardsticks of the guard: NumPy alone, from a matrix of closes.

usage: guard.py account|sweep|ridge CLOSES.f64 SYMBOLS OUT.npy

account decides and replays a daily top 40 once, sweep four times; ridge fits
eight lagged returns in five expanding folds and predicts the blocks after them.
"""
import sys

import numpy as np

how, closes, symbols, out = sys.argv[1:]
price = np.fromfile(closes).reshape(-1, int(symbols))


def account(k, cost=0.001):
    score = price[20:] / price[:-20] - 1
    top = np.argsort(-score, axis=1, kind="stable")[:, :k]
    cash, shares, curve = 1e6, np.zeros(price.shape[1]), []
    for p, names in zip(price[20:], top):
        w = np.zeros(len(p))
        w[names] = 1 / k
        holdings = shares * p
        equity = after = cash + holdings.sum()
        while True:
            sign = np.where(w * after > holdings, 1.0, -1.0)
            next = (equity + cost * (sign @ holdings)) / (1 + cost * (sign @ w))
            if not next < after:
                break
            after = next
        change = w * after - holdings
        cash = max(cash - change.sum() - cost * np.abs(change).sum(), 0)
        shares = w * after / p
        curve.append(cash + shares @ p)
    return np.array(curve)


def ridge():
    lags = [1, 2, 3, 5, 10, 20, 40, 60]
    x = np.stack([price[60:-5] / price[60 - k : -5 - k] - 1 for k in lags], axis=-1)
    y = price[65:] / price[60:-5] - 1
    predicted, n = [], len(y)
    for fold in range(1, 6):
        end, stop = n * fold // 6, n * (fold + 1) // 6
        train = x[: end - 5].reshape(-1, len(lags))
        mean, deviation = train.mean(axis=0), train.std(axis=0)
        z = (train - mean) / deviation
        goal = y[: end - 5].ravel()
        b = np.linalg.solve(z.T @ z + np.eye(len(lags)), z.T @ (goal - goal.mean()))
        predicted.append((x[end:stop] - mean) / deviation @ b + goal.mean())
    return np.concatenate(predicted)


if how == "account":
    result = account(40)
elif how == "sweep":
    result = np.array([account(k) for k in (10, 20, 30, 40)])
else:
    result = ridge()
np.save(out, result)
