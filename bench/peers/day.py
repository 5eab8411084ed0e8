"""Computes the newest day's features, or the labels that it completes.

usage: day.py v1|v2|labels BARS.parquet OUT.parquet

It reads the last sessions alone: 70 for v1 and the labels; 300 for v2, whose
longest window is 253 sessions and whose recursions have forgotten their start by then.
"""
import sys

import polars as pl

import features

what, path, out = sys.argv[1:]
bars = pl.scan_parquet(path)
days = bars.select(pl.col("date").unique().sort()).collect()["date"]
recent = bars.filter(pl.col("date") >= days[-300 if what == "v2" else -70])
if what == "labels":
    h = 60
    forward = (pl.col("adj_close").shift(-h).over("symbol") / pl.col("adj_close") - 1).alias(f"fwd_ret_{h}d")
    frame = recent.select("symbol", "date", forward).filter(pl.col("date") == days[-1 - h])
    frame = frame.with_columns((pl.col(f"fwd_ret_{h}d") > 0).cast(pl.Float64).alias(f"direction_{h}d")).collect()
elif what == "v1":
    frame = features.v1(recent).filter(pl.col("date") == days[-1]).select("symbol", "date", *features.V1).collect()
else:
    frame = features.v2(recent).filter(pl.col("date") == days[-1]).select("symbol", "date", *features.V2)
frame.write_parquet(out)
