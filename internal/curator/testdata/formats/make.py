"""Makes the files of this folder, as the tools that are named write them.

Python 3.11 with pandas, openpyxl, XlsxWriter, pyarrow and polars as the file
VERSIONS says. yfinance's frames are made by hand in the form that
yfinance.download returns: columns of the levels Price and Ticker, an index Date.
"""
import datetime as dt
import zipfile
from importlib.metadata import version

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather as feather
import openpyxl

days = pd.to_datetime(["2024-01-02", "2024-01-03", "2024-01-04"])
plain = pd.DataFrame({"date": days, "symbol": "AAPL", "open": [10.0, 11.0, 12.0], "high": [12.5, 13.0, 14.0], "low": [9.0, 10.0, 11.0],
                      "close": [11.0, 12.0, 0.1 + 0.2 + 12], "volume": [100, 200, 300]})

# Excel
plain.to_excel("pandas.xlsx", index=False)
plain.to_excel("xlsxwriter.xlsx", index=False, engine="xlsxwriter")
with pd.ExcelWriter("two_sheets.xlsx") as w:
    plain.to_excel(w, sheet_name="AAPL", index=False)
    plain.assign(symbol="MSFT").to_excel(w, sheet_name="MSFT", index=False)
pl.from_pandas(plain).with_columns(pl.col("date").cast(pl.Date)).write_excel("polars.xlsx")
book = openpyxl.Workbook()
book.epoch = openpyxl.utils.datetime.CALENDAR_MAC_1904
sheet = book.active
sheet.append([])
sheet.append(["Date", "Code", "Open", "High", "Low", "Close", "Volume"])
sheet.append([dt.date(2024, 1, 2), "005930", 10, 12, 9, 11, 100])
sheet.append([])
sheet.append([dt.date(2024, 1, 3), "005930", 10, 12, 9, "x", 100])
book.create_sheet("Notes").append(["made by hand"])
book.save("from_1904.xlsx")
book = openpyxl.Workbook()
book.active.append(["Date", "Code", "Open", "High", "Low", "Close", "Volume"])
book.active.append([dt.date(2024, 1, 2), 5930, 10, 12, 9, 11, 100])
book.save("number_symbol.xlsx")
book = openpyxl.Workbook()
book.active.append(["Date", "Open", "High", "Low", "Close", "Volume"])
book.active.append([dt.date(2024, 1, 2), 10, 12, 9, "=B2+1", 100])
book.save("formula.xlsx")

# Feather, Arrow and Parquet
plain.to_feather("pandas.feather")
pl.from_pandas(plain).write_ipc("polars.arrow", compression="zstd")
pl.from_pandas(plain).write_ipc_stream("polars.arrows")
table = pa.table({
    "date": pa.array([d.date() for d in days], pa.date64()),
    "symbol": pa.array(["AAPL"] * 3).dictionary_encode(),
    "open": pa.array([10, 11, 12], pa.int32()), "high": pa.array([12.5, 13.0, 14.0], pa.float32()), "low": pa.array([9, 10, 11], pa.uint64()),
    "close": pa.array([11, 12, 13], pa.int64()).cast(pa.decimal128(38, 4)), "volume": pa.array([100, 200, None], pa.int64()),
    "adj_close": pa.array([1.5, None, 2.5]),
})
feather.write_feather(table, "types.feather", compression="lz4")
pl.from_pandas(plain).with_columns(pl.col("volume").cast(pl.Int128), pl.col("low").cast(pl.UInt64), pl.col("symbol").cast(pl.Categorical)).write_parquet("polars_types.parquet")
pl.from_pandas(plain).with_columns(pl.Series("close", [11, -(2**100), 12], dtype=pl.Int128)).write_parquet("int128.parquet")
indexed = plain.set_index("date")
indexed.index.name = None
indexed.to_parquet("pandas_index.parquet")
indexed.to_feather("pandas_index.feather")
seoul = plain.assign(date=days.tz_localize("Asia/Seoul"))
seoul.to_feather("zone.feather")
seoul.to_parquet("zone.parquet")
plain.to_json("lines.jsonl", orient="records", lines=True, date_format="iso", date_unit="s")
plain.assign(date=plain.date.dt.strftime("%Y-%m-%d")).to_json("array.json", orient="records")
plain.to_json("columns.json")

# yfinance
fields, tickers = ["Adj Close", "Close", "High", "Low", "Open", "Volume"], ["AAPL", "MSFT"]
values = {"Adj Close": 10.5, "Close": 11.0, "High": 12.0, "Low": 9.0, "Open": 10.0, "Volume": 100}
def yf(tickers, by="Price"):
    columns = pd.MultiIndex.from_product([fields, tickers], names=["Price", "Ticker"])
    data = [[values[f] + i + 10 * tickers.index(t) for f, t in columns] for i in range(3)]
    frame = pd.DataFrame(data, columns=columns, index=pd.DatetimeIndex(days, name="Date")).astype(float)
    if "MSFT" in tickers:
        frame.iloc[0, [t == "MSFT" for _, t in columns]] = np.nan  # not listed yet
    if by == "ticker":
        frame = frame.swaplevel(axis=1).sort_index(axis=1)
    return frame
yf(["AAPL"]).to_csv("yf_one.csv")
yf(tickers).to_csv("yf_many.csv")
yf(tickers, by="ticker").to_csv("yf_by_ticker.csv")
yf(tickers).reset_index().to_csv("yf_reset.csv", index=False)
yf(["005930", "000660"]).to_csv("yf_numbers.csv")
old = yf(tickers)
old.columns.names = [None, None]
old.to_csv("yf_old.csv")
yf(tickers).iloc[::-1].to_csv("yf_newest_first.csv")
yf(tickers).to_excel("yf_many.xlsx")
flat = yf(tickers)
flat.columns = [str(c) for c in flat.columns]
flat.to_parquet("yf_flat.parquet")
flat.reset_index().to_feather("yf_flat.feather")
yf(tickers).to_parquet("yf_levels.parquet")
swapped = yf(tickers, by="ticker")
swapped.columns = [str(c) for c in swapped.columns]
swapped.to_csv("yf_flat_by_ticker.csv")

# closes
closes = pd.DataFrame({"AAPL": [11.0, 12.0, 13.0], "MSFT": [np.nan, 22.0, 23.0], "BRK.B": [31.0, 32.0, -1.0]}, index=pd.DatetimeIndex(days, name="Date"))
closes.to_csv("wide.csv")
closes.to_parquet("wide.parquet")
closes.to_excel("wide.xlsx")
plain[["date", "close"]].to_csv("closes.csv", index=False)

# zip
with zipfile.ZipFile("prices.zip", "w", zipfile.ZIP_DEFLATED) as z:
    one = plain.drop(columns="symbol")
    z.writestr("data/AAPL.csv", one.to_csv(index=False))
    z.writestr("data/MSFT.csv", one.to_csv(index=False))
    z.writestr("__MACOSX/data/._AAPL.csv", b"\0\1")
    z.writestr("README.md", "prices\n")

with zipfile.ZipFile("parquet.zip", "w", zipfile.ZIP_DEFLATED) as z:
    z.write("polars_types.parquet")
    z.write("pandas.feather")
with zipfile.ZipFile("escape.zip", "w", zipfile.ZIP_DEFLATED) as z:
    z.writestr("../../etc/AAPL.csv", plain.drop(columns="symbol").to_csv(index=False))

# Symbols and dates that are numbers, and numbers beside texts
def book_of(name, *rows):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(name)


head = ["Date", "Open", "High", "Low", "Close", "Volume"]
book_of("number_first.xlsx", ["Symbol"] + head, [5930, dt.date(2024, 1, 2), 10, 12, 9, 11, 100])
book_of("number_wide.xlsx", ["Date", 5930, 660], [dt.date(2024, 1, 2), 11, 21])
book_of("number_levels.xlsx", ["Price", "Close", "High", "Low", "Open", "Volume"], ["Ticker"] + [5930] * 5, ["Date"], [dt.date(2024, 1, 2), 11, 12, 9, 10, 100])
book_of("number_date.xlsx", head, [45293, 10, 12, 9, 11, 100], [45294, 10, 12, 9, 11, 100])
book_of("title.xlsx", ["Prices of AAPL"], head, [dt.date(2024, 1, 2), 10, 12, 9, 11, 100])
book_of("two_marks.xlsx", head, [dt.date(2024, 1, 2), "12,1", 12.125, "11,5", 12, 1000000])
numbered = plain.assign(emittent=5930).drop(columns="symbol")
numbered.to_feather("number_mapped.feather")
numbered.to_parquet("number_mapped.parquet")
numbered.rename(columns={"emittent": "symbol"}).assign(date="2024-01-02").to_json("number_symbol.jsonl", orient="records", lines=True)
plain.assign(open="10,5").to_parquet("texts.parquet")
pd.DataFrame({"date": ["2024-01-02"], "open": [12.125], "high": [1e7 + 0.125], "low": [0.001], "close": [12.5], "volume": [1.5e9]}).to_json("numbers.jsonl", orient="records", lines=True)

with open("VERSIONS", "w") as f:
    for package in ("pandas", "numpy", "openpyxl", "xlsxwriter", "pyarrow", "polars"):
        print(package, version(package), file=f)
