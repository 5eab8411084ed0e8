"""Fits ridge on a purged walk-forward split with Polars and scikit-learn, and
judges each fold on its test block.

usage: train.py FEATURES.parquet LABEL.parquet HORIZON FOLDS ALPHA OUT.json
"""
import json
import sys

import numpy as np
import polars as pl
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

features, label, horizon, folds, alpha, out = sys.argv[1:]
horizon, folds, alpha = int(horizon), int(folds), float(alpha)
frame = pl.scan_parquet(features).drop_nulls().join(pl.scan_parquet(label), on=["symbol", "date"]).sort("date", "symbol").collect()
names = [c for c in frame.columns if c not in ("symbol", "date", "value")]
x, y = frame.select(names).to_numpy(order="c"), frame["value"].to_numpy()
session = frame["date"].rle_id().to_numpy()  # no session is without a sample
days = frame["date"].unique(maintain_order=True)
n = len(days)


def fit(end):
    """The model of the sessions before end."""
    rows = np.searchsorted(session, end)
    scaler = StandardScaler().fit(x[:rows])
    model = Ridge(alpha=alpha).fit(scaler.transform(x[:rows]), y[:rows])
    return scaler, model, {
        "after": str(days[min(end - 1 + horizon, n - 1)]) if end < n else None,
        "intercept": float(model.intercept_), "coefficient": model.coef_.tolist(), "mean": scaler.mean_.tolist(), "deviation": scaler.scale_.tolist(),
    }


models, at = [], -(-n // (folds + 1))
first, predicted = np.searchsorted(session, at), np.empty(len(y))
for k in range(folds):
    length = -(-(n - at) // (folds - k))
    scaler, model, told = fit(at - horizon)
    lo, hi = np.searchsorted(session, [at, at + length])
    predicted[lo:hi] = model.predict(scaler.transform(x[lo:hi]))
    models.append(told)
    at += length
models.append(fit(n)[2])

test = pl.DataFrame({"date": frame["date"][first:], "p": predicted[first:], "y": y[first:]})
daily = test.with_columns(pl.col("p", "y").rank().over("date").name.suffix("_rank")).group_by("date").agg(
    ic=pl.corr("p", "y"), rank_ic=pl.corr("p_rank", "y_rank"))
json.dump({
    "features": names, "models": models,
    "ic": daily["ic"].mean(), "icir": daily["ic"].mean() / daily["ic"].std(),
    "rank_ic": daily["rank_ic"].mean(), "rank_icir": daily["rank_ic"].mean() / daily["rank_ic"].std(),
    "rmse": float(np.sqrt(np.mean((predicted[first:] - y[first:]) ** 2))),
}, open(out, "w"))
