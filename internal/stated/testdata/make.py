"""Writes the files of this folder: one set of features, as people's tools write it.

pandas 3.1.1, polars 2.1.0, pyarrow 26.0.1; Python 3.11.
"""
import numpy as np
import pandas as pd
import polars as pl

days = pd.to_datetime(["2024-01-03", "2024-01-04", "2024-01-05", "2024-01-08"])
symbols = ["005930", "AAA", "BRK.B"]
f = pd.DataFrame([(d, s) for d in days for s in symbols], columns=["date", "symbol"])
f["mom"] = [(i * i % 7) / 8 - 0.25 for i in range(len(f))]
f["Qual_1"] = [1.5 - (i * 5 % 11) / 16 for i in range(len(f))]
f.loc[3, "Qual_1"] = np.nan

f.to_parquet("pandas_columns.parquet", index=False)
f.to_parquet("pandas_range_index.parquet")
indexed = f.set_index(["date", "symbol"])
indexed.to_parquet("pandas_multiindex.parquet")
indexed.to_csv("pandas_multiindex.csv")
unnamed = indexed.copy()
unnamed.index.names = [None, None]
unnamed.to_parquet("pandas_unnamed.parquet")
unnamed.to_csv("pandas_unnamed.csv")
f.to_csv("pandas_row_numbers.csv")
long = f.melt(id_vars=["date", "symbol"], var_name="feature_name", value_name="feature_value")
for column in ["symbol", "feature_name"]:
    long[column] = long[column].astype("category")
long.to_parquet("pandas_long_category.parquet")
long.to_feather("pandas_long_category.feather")
f.pivot(index="date", columns="symbol", values=["mom", "Qual_1"]).to_parquet("pandas_two_levels.parquet")
f.pivot(index="date", columns="symbol", values="mom").to_parquet("pandas_panel_mom.parquet")
f.pivot(index="date", columns="symbol", values="mom").to_csv("pandas_panel_mom.csv")
zoned = f.copy()
zoned["date"] = zoned["date"].dt.tz_localize("America/New_York")
zoned.to_parquet("pandas_zoned.parquet")
zoned.to_csv("pandas_zoned.csv", index=False)
ns = f.copy()
ns["date"] = ns["date"].astype("datetime64[ns]")
ns.to_parquet("pandas_ns.parquet", index=False)
p = pl.from_pandas(f, nan_to_null=False)
p.write_parquet("polars.parquet")
p.write_ipc("polars.arrow")
p.write_ipc_stream("polars_stream.arrows")
p.write_csv("polars.csv")
p.with_columns(pl.col("date").cast(pl.Date), pl.col("symbol").cast(pl.Categorical), pl.col("mom").cast(pl.Float32)).write_ipc("polars_types.feather")
