"""Computes the features of a version from bars and writes them wide.

usage: features.py v1|v2 BARS.parquet OUT.parquet

v1 is Polars alone; v2 adds TA-Lib, symbol by symbol, for RSI, ATR, MACD and
Bollinger's bands. The bars have no gaps, so that rows are sessions.
"""
import sys

import polars as pl

BASIS = [
    pl.col("adj_close").alias("p"),
    (pl.col("open") * (pl.col("adj_close") / pl.col("close"))).alias("o"),
    (pl.col("high") * (pl.col("adj_close") / pl.col("close"))).alias("h"),
    (pl.col("low") * (pl.col("adj_close") / pl.col("close"))).alias("l"),
    (pl.col("volume") * (pl.col("close") / pl.col("adj_close"))).alias("v"),
]


def lagged(k):
    return (pl.col("p") / pl.col("p").shift(k).over("symbol") - 1).alias(f"ret_{k}d")


def v1(bars):
    """A lazy frame of the eight features, and of the prices that v2 needs."""
    return (
        bars.with_columns(BASIS)
        .with_columns(
            lagged(1), lagged(5), lagged(20), lagged(60),
            (pl.col("o") / pl.col("p").shift(1).over("symbol") - 1).alias("gap_open"),
            ((pl.col("h") - pl.col("l")) / pl.col("p")).alias("hl_range"),
            (pl.col("v") / pl.col("v").rolling_mean(20).over("symbol")).alias("volume_ratio_20d"),
        )
        .with_columns(pl.col("ret_1d").rolling_std(20).over("symbol").alias("vol_20d"))
    )


V1 = ["ret_1d", "ret_5d", "ret_20d", "ret_60d", "vol_20d", "gap_open", "hl_range", "volume_ratio_20d"]
V2 = V1 + ["rsi_14", "atr_14", "atr_pct_14", "macd", "macd_signal", "macd_pct", "bb_upper", "bb_lower", "bb_pctb", "mom_12_1", "amihud_20d"]


def v2(bars):
    import numpy as np
    import talib

    frame = v1(bars).with_columns(
        (pl.col("p").shift(21).over("symbol") / pl.col("p").shift(252).over("symbol") - 1).alias("mom_12_1"),
        (1e6 * (pl.col("ret_1d").abs() / (pl.col("p") * pl.col("v"))).rolling_mean(20).over("symbol")).alias("amihud_20d"),
    ).collect()
    p, h, l = (frame[c].to_numpy() for c in "phl")
    starts = np.flatnonzero(frame["symbol"].rle_id().diff().fill_null(1).to_numpy())
    ends = np.append(starts[1:], len(frame))
    out = {name: np.empty(len(frame)) for name in ("rsi_14", "atr_14", "macd", "macd_signal", "bb_upper", "bb_lower")}
    for a, b in zip(starts, ends):
        out["rsi_14"][a:b] = talib.RSI(p[a:b], 14)
        out["atr_14"][a:b] = talib.ATR(h[a:b], l[a:b], p[a:b], 14)
        out["macd"][a:b], out["macd_signal"][a:b], _ = talib.MACD(p[a:b], 12, 26, 9)
        out["bb_upper"][a:b], _, out["bb_lower"][a:b] = talib.BBANDS(p[a:b], 20, 2, 2)
    out["atr_pct_14"] = out["atr_14"] / p
    out["macd_pct"] = out["macd"] / p
    out["bb_pctb"] = (p - out["bb_lower"]) / (out["bb_upper"] - out["bb_lower"])
    return frame.with_columns(**{name: pl.Series(values, nan_to_null=True) for name, values in out.items()})


if __name__ == "__main__":
    version, bars, out = sys.argv[1:]
    bars = pl.scan_parquet(bars)
    if version == "v1":
        v1(bars).select("symbol", "date", *V1).collect().write_parquet(out)
    else:
        v2(bars).select("symbol", "date", *V2).write_parquet(out)
