"""Judges a feature with alphalens: forward returns, IC, quantiles, turnover.

usage: report_alphalens.py FEATURE.parquet BARS.parquet OUT.json
"""
import json
import sys
import warnings

import pandas as pd
import polars as pl

warnings.filterwarnings("ignore")
from alphalens import performance, utils  # noqa: E402

feature, bars, out = sys.argv[1:]
frame = pl.read_parquet(feature)
factor = pd.Series(frame["value"].to_numpy(), index=pd.MultiIndex.from_arrays([pd.to_datetime(frame["date"].to_numpy()), frame["symbol"].to_list()], names=["date", "asset"])).sort_index()
closes = pl.read_parquet(bars, columns=["symbol", "date", "adj_close"])
prices = pd.Series(closes["adj_close"].to_numpy(), index=pd.MultiIndex.from_arrays([pd.to_datetime(closes["date"].to_numpy()), closes["symbol"].to_list()])).unstack()
data = utils.get_clean_factor_and_forward_returns(factor, prices, quantiles=5, periods=(1, 5, 10, 20, 60), max_loss=1)
ic = performance.factor_information_coefficient(data)
means, _ = performance.mean_return_by_quantile(data)
auto = performance.factor_rank_autocorrelation(data)
json.dump({"rank_ic": ic.mean().tolist(), "quantiles": means.to_numpy().T.tolist(), "autocorrelation": float(auto.mean())}, open(out, "w"))
