"""Judges a feature by a label with Polars: the figures of a factor report.

usage: report.py FEATURE.parquet LABEL.parquet BARS.parquet OUT.json
"""
import json
import sys

import polars as pl

feature, label, bars, out = sys.argv[1:]
HORIZONS = [1, 5, 10, 20, 60]
prices = pl.scan_parquet(bars).select(
    "symbol", "date", *((pl.col("adj_close").shift(-h).over("symbol") / pl.col("adj_close") - 1).alias(f"d{h}") for h in HORIZONS))
frame = (
    prices.join(pl.scan_parquet(feature).rename({"value": "x"}), on=["symbol", "date"])
    .join(pl.scan_parquet(label).rename({"value": "y"}), on=["symbol", "date"], how="left")
    .sort("symbol", "date")
    .with_columns(pl.col("x").rank().over("date").alias("rx"))
    .collect()
)


def coefficients(column):
    """Mean and deviation of the daily IC and RankIC."""
    pairs = frame.lazy().filter(pl.col(column).is_not_null()).with_columns(
        pl.col("x").rank().over("date").alias("a"), pl.col(column).rank().over("date").alias("b"))
    daily = pairs.group_by("date").agg(n=pl.len(), ic=pl.corr("x", column), rank=pl.corr("a", "b")).filter(pl.col("n") >= 5).sort("date").collect()
    return daily


daily = coefficients("y")
decay = {h: coefficients(f"d{h}") for h in HORIZONS}
pairs = frame.lazy().filter(pl.col("y").is_not_null())
quantiles = (
    pairs.with_columns(((pl.col("x").rank().over("date") - 0.5) * 5 / pl.len().over("date")).floor().clip(0, 4).alias("q"))
    .group_by("date", "q").agg(pl.col("y").mean()).group_by("q").agg(pl.col("y").mean()).sort("q").collect()
)
along = pairs.group_by("symbol").agg(pl.corr("x", "y").alias("c")).sort("symbol").collect()
auto = frame.lazy().select("date", "rx", pl.col("rx").shift(1).over("symbol").alias("before")).drop_nulls().group_by("date").agg(pl.corr("rx", "before").alias("c")).collect()
means = quantiles["y"].to_list()
json.dump({
    "ic": daily["ic"].mean(), "icir": daily["ic"].mean() / daily["ic"].std(),
    "rank_ic": daily["rank"].mean(), "rank_icir": daily["rank"].mean() / daily["rank"].std(),
    "decay": [[decay[h]["ic"].mean(), decay[h]["rank"].mean()] for h in HORIZONS],
    "quantiles": means, "spread": means[-1] - means[0], "autocorrelation": auto["c"].mean(), "along_time": along["c"].mean(),
    "daily": [[str(d), n, a, b] for d, n, a, b in daily.rows()],
    "symbols": [[s, c] for s, c in along.rows()],
}, open(out, "w"))
