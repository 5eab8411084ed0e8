"""Scores each day with the latest model whose training labels had ended before it.

usage: score.py FEATURES.parquet MODEL.json FROM TO OUT.parquet
"""
import json
import sys
from datetime import date

import numpy as np
import polars as pl

features, model, first, last, out = sys.argv[1:]
told = json.load(open(model))
names = told["features"]
frame = pl.scan_parquet(features).filter(pl.col("date").is_between(date.fromisoformat(first), date.fromisoformat(last))).drop_nulls().collect()
x = frame.select(names).to_numpy(order="c")
day = frame["date"].to_numpy()
folds = [m for m in told["models"] if m["after"]]
use = np.searchsorted(np.array([m["after"] for m in folds], dtype="datetime64[D]"), day, side="left") - 1
score = np.empty(len(x))
for k, m in enumerate(folds):
    rows = use == k
    score[rows] = ((x[rows] - m["mean"]) / m["deviation"]) @ np.array(m["coefficient"]) + m["intercept"]
frame.select("symbol", "date", pl.Series("task", use + 1), pl.Series("score", score)).write_parquet(out)
