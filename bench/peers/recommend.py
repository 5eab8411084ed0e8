"""Decides what to hold with NumPy: the top k by signal in equal weights, under
the caps of the strategy (a weight, the positions, the exposure).

usage: recommend.py SIGNAL.parquet FROM TOP_K MAX_WEIGHT OUT.parquet
"""
import sys

import numpy as np
import polars as pl

from market import best, matrix

signal, first, k, cap, out = sys.argv[1:]
k, cap = int(k), float(cap)
days, symbols, scores = matrix(signal, "value")
scores = scores[days >= np.datetime64(first)]
days = days[days >= np.datetime64(first)]
top = best(scores, k)
weight = min(1 / k, cap)
if weight * k > 1:
    weight /= weight * k
pl.DataFrame({
    "date": np.repeat(days, k),
    "symbol": symbols.gather(top.ravel()),
    "weight": np.full(top.size, weight),
    "score": np.take_along_axis(scores, top, axis=1).ravel(),
}).write_parquet(out)
