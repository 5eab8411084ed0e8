"""Alpha158 in Polars' lazy engine, the 128 of its 158 expressions that Polars can say
(all but BETA, RSQR, RESI, IMAX, IMIN, IMXD): python alpha158.py BARS [OUT]

BARS is a Parquet file: symbol, date, open, high, low, close, volume, adj_close. OUT
becomes a wide Parquet file. Without OUT, it prints the seconds that computing took, with
the bars in memory and the features left there.
"""
import sys, time

import polars as pl

WINDOWS = [5, 10, 20, 30, 60]
NARROW = 1e-12


def features():
    o, h, l, c, v = (pl.col(x) for x in ["open", "high", "low", "close", "volume"])
    body_top, body_low, span = pl.max_horizontal(o, c), pl.min_horizontal(o, c), h - l + NARROW
    yield from {
        "KMID": (c - o) / o, "KLEN": (h - l) / o, "KMID2": (c - o) / span,
        "KUP": (h - body_top) / o, "KUP2": (h - body_top) / span,
        "KLOW": (body_low - l) / o, "KLOW2": (body_low - l) / span,
        "KSFT": (2 * c - h - l) / o, "KSFT2": (2 * c - h - l) / span,
        "OPEN0": o / c, "HIGH0": h / c, "LOW0": l / c, "VWAP0": (h + l + c) / 3 / c,
    }.items()
    last, last_v = c.shift(1), v.shift(1)
    up, down, moved = (c - last).clip(lower_bound=0), (last - c).clip(lower_bound=0), (c - last).abs()
    v_up, v_down, v_moved = (v - last_v).clip(lower_bound=0), (last_v - v).clip(lower_bound=0), (v - last_v).abs()
    weighted = (c / last - 1).abs() * v
    for n in WINDOWS:
        yield f"ROC{n}", c.shift(n) / c
        yield f"MA{n}", c.rolling_mean(n) / c
        yield f"STD{n}", c.rolling_std(n) / c
        yield f"MAX{n}", h.rolling_max(n) / c
        yield f"MIN{n}", l.rolling_min(n) / c
        yield f"QTLU{n}", c.rolling_quantile(0.8, interpolation="linear", window_size=n) / c
        yield f"QTLD{n}", c.rolling_quantile(0.2, interpolation="linear", window_size=n) / c
        yield f"RANK{n}", c.rolling_rank(n, method="average") / n
        yield f"RSV{n}", (c - l.rolling_min(n)) / (h.rolling_max(n) - l.rolling_min(n) + NARROW)
        yield f"CORR{n}", pl.rolling_corr(c, (v + 1).log(), window_size=n)
        yield f"CORD{n}", pl.rolling_corr(c / last, (v / last_v + 1).log(), window_size=n)
        rose, fell = (c > last).cast(pl.Float64), (c < last).cast(pl.Float64)
        yield f"CNTP{n}", rose.rolling_mean(n)
        yield f"CNTN{n}", fell.rolling_mean(n)
        yield f"CNTD{n}", rose.rolling_mean(n) - fell.rolling_mean(n)
        for name, a, b, whole in [("SUM", up, down, moved), ("VSUM", v_up, v_down, v_moved)]:
            total = whole.rolling_sum(n) + NARROW
            yield f"{name}P{n}", a.rolling_sum(n) / total
            yield f"{name}N{n}", b.rolling_sum(n) / total
            yield f"{name}D{n}", (a.rolling_sum(n) - b.rolling_sum(n)) / total
        yield f"VMA{n}", v.rolling_mean(n) / (v + NARROW)
        yield f"VSTD{n}", v.rolling_std(n) / (v + NARROW)
        yield f"WVMA{n}", weighted.rolling_std(n) / (weighted.rolling_mean(n) + NARROW)


def main(bars, out=None):
    lazy = pl.scan_parquet(bars).sort("symbol", "date")
    factor = pl.col("adj_close") / pl.col("close")
    lazy = lazy.select("symbol", "date", *[pl.col(x) * factor for x in ["open", "high", "low", "close"]], volume=pl.col("volume") / factor)
    wanted = [e.over("symbol").alias(name) for name, e in features()]
    if out:
        lazy.select("symbol", "date", *wanted).sink_parquet(out)
        return
    memory = lazy.collect()
    began = time.perf_counter()
    table = memory.lazy().select("symbol", "date", *wanted).collect()
    print(f"{time.perf_counter() - began:.3f} s, {table.width - 2} features, {table.height} bars")


if __name__ == "__main__":
    main(*sys.argv[1:])
