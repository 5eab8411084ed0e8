"""Computes Qlib's Alpha158 and Alpha360 of real bars: python qlib_alphas.py STOCKS OUT [EVERY]

STOCKS is internal/demo/data/stocks.csv.gz (bokeh-sampledata 2026.1). OUT becomes a
gzipped CSV: set, symbol, session (a row of the symbol, from 0), name, value as Qlib gives
it and double, what Qlib gives when the columns that it reads are taken as float64 before
it computes, both with 9 digits; every EVERY-th session (default 83, of Alpha360 every tenth of these) from the
130th on, since before that Qlib has values of windows that are not full. Prices are
adjusted by Adj Close. The bars that Qlib reads are float32, as its store is, and so is
what it adds and multiplies; $vwap is (high + low + close) / 3.

Made with pyqlib 0.9.7, pandas 3.1.1, numpy 2.4.6, Python 3.11.7.
"""
import gzip, pathlib, sys, tempfile

import numpy as np
import pandas as pd
import qlib
from qlib.contrib.data.loader import Alpha158DL, Alpha360DL
from qlib.data import D
from qlib.data.cache import H
from qlib.data.data import LocalFeatureProvider

SYMBOLS = ["AAPL", "GOOG", "IBM", "MSFT"]


def store(folder, bars):
    """Writes the bars as Qlib's binary store has them."""
    days = sorted(bars.date.unique())
    place = {d: i for i, d in enumerate(days)}
    (folder / "calendars").mkdir(parents=True)
    (folder / "instruments").mkdir()
    (folder / "calendars/day.txt").write_text("\n".join(days) + "\n")
    lines = []
    for symbol, b in bars.groupby("symbol"):
        lines.append(f"{symbol}\t{b.date.iloc[0]}\t{b.date.iloc[-1]}")
        to = folder / "features" / symbol.lower()
        to.mkdir(parents=True)
        full = b.set_index("date").reindex(days[place[b.date.iloc[0]]: place[b.date.iloc[-1]] + 1])
        for field in ["open", "high", "low", "close", "volume", "vwap"]:
            np.hstack([place[b.date.iloc[0]], full[field].to_numpy()]).astype("<f4").tofile(to / f"{field}.day.bin")
    (folder / "instruments/all.txt").write_text("\n".join(lines) + "\n")


def main(stocks, out, every=83):
    bars = pd.read_csv(stocks)
    bars.columns = ["symbol", "date", "open", "high", "low", "close", "volume", "adjusted"]
    bars = bars[bars.symbol.isin(SYMBOLS)].copy()
    factor = bars.adjusted / bars.close
    for field in ["open", "high", "low", "close"]:
        bars[field] *= factor
    bars["volume"] = bars.volume / factor
    for field in ["open", "high", "low", "close", "volume"]:
        bars[field] = bars[field].astype("float32").astype("float64")
    bars["vwap"] = (bars.high + bars.low + bars.close) / 3
    folder = pathlib.Path(tempfile.mkdtemp())
    store(folder, bars)
    qlib.init(provider_uri=str(folder), region="us", kernels=1, expression_cache=None, dataset_cache=None)
    with gzip.GzipFile(out, "wb", mtime=0) as f:
        f.write(b"set,symbol,session,name,value,double\n")
        for label, loader in [("alpha158", Alpha158DL), ("alpha360", Alpha360DL)]:
            fields, names = loader.get_feature_config()
            values = D.features(SYMBOLS, fields, freq="day")
            feature = LocalFeatureProvider.feature
            LocalFeatureProvider.feature = lambda *a: feature(*a).astype("float64")
            H.clear()
            doubles = D.features(SYMBOLS, fields, freq="day")
            LocalFeatureProvider.feature = feature
            H.clear()
            for symbol in SYMBOLS:
                v, w = values.loc[symbol], doubles.loc[symbol]
                for session in range(130, len(v), every if label == "alpha158" else 10 * every):
                    for name, x, y in zip(names, v.iloc[session], w.iloc[session]):
                        f.write(f"{label},{symbol},{session},{name},{x:.9g},{y:.9g}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
