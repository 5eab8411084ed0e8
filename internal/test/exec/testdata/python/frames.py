"""Tables of a lab as frames, and frames as features and predictions."""

import datetime
import decimal
import math
import sys

import quant_run

QUERY = """SELECT * FROM (VALUES
    ('A', DATE '2024-01-02', TIMESTAMP '2026-01-15 09:30:00.000001', 0.1::DOUBLE, 9007199254740993, true, 3::HUGEINT, 1.25::DECIMAL(9,2), [1, 2], '\\x00\\xFF'::BLOB, 170141183460469231731687303::HUGEINT),
    ('', NULL, NULL, '-0.0'::DOUBLE, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (NULL, DATE '1960-02-29', TIMESTAMP '1960-02-29 00:00:00', 5e-324::DOUBLE, -1, false, -4::HUGEINT, -0.5::DECIMAL(9,2), [], ''::BLOB, 1::HUGEINT))
    t(s, day, ts, d, i, b, h, dec, list, raw, huge)"""

UTC = datetime.timezone.utc
first = {
    "s": "A",
    "day": datetime.date(2024, 1, 2),
    "ts": datetime.datetime(2026, 1, 15, 9, 30, 0, 1, tzinfo=UTC),
    "d": 0.1,
    "i": 9007199254740993,
    "b": True,
    "h": 3,
    "dec": decimal.Decimal("1.25"),
    "list": [1, 2],
    "raw": b"\x00\xff",
    "huge": 170141183460469231731687303,
}


def equal(got, want):
    if type(got) is not type(want) or got != want:
        sys.exit("got %r, want %r" % (got, want))


rows = quant_run.sql(QUERY, to="rows")
equal(len(rows), 3)
equal(rows[0], first)
equal([type(v) for v in rows[0].values()], [type(v) for v in first.values()])
equal([rows[1]["s"], rows[2]["s"], rows[1]["day"]], ["", None, None])
equal(math.copysign(1, rows[1]["d"]), -1.0)
equal(rows[2]["d"], 5e-324)
equal(quant_run.sql("SELECT 'NaN'::DOUBLE AS x, 'Infinity'::DOUBLE AS y, 2.0::DOUBLE AS z", to="rows")[0]["y"], math.inf)
equal(quant_run.sql("SELECT symbol FROM ohlcv WHERE false", to="rows"), [])
equal(quant_run.sql("SELECT kind, count(*) AS n FROM runs WHERE kind = 'ingest' GROUP BY 1", to="rows", meta=True), [{"kind": "ingest", "n": 1}])

import pandas
import polars
import pyarrow

table = quant_run.sql(QUERY, to="arrow")
equal(isinstance(table, pyarrow.Table), True)
equal(
    [str(kind) for kind in table.schema.types],
    ["string", "date32[day]", "timestamp[us, tz=UTC]", "double", "int64", "bool", "int64", "decimal128(9, 2)", "string", "binary", "decimal128(38, 0)"],
)
equal(table.column("d").to_pylist(), [0.1, -0.0, 5e-324])
equal(table.column("s").to_pylist(), ["A", "", None])
frame = quant_run.sql(QUERY, to="polars")
equal(frame.schema["i"], polars.Int64())
equal(frame.schema["h"], polars.Int64())
equal(frame.schema["ts"], polars.Datetime("us", "UTC"))
equal(frame["ts"].to_list()[0], first["ts"].astimezone(frame["ts"].to_list()[0].tzinfo))
equal(frame["day"].to_list(), [first["day"], None, datetime.date(1960, 2, 29)])


def check(frame):
    equal(frame["i"].dtype.name, "Int64")
    equal(int(frame["i"][0]), 9007199254740993)
    equal(frame["b"].dtype.name, "boolean")
    equal(frame["d"].dtype.name, "float64")
    equal(frame["dec"].dtype.name, "float64")
    equal(float(frame["d"][2]), 5e-324)
    equal(frame["day"].dtype.kind, "M")
    equal(frame["day"][0], pandas.Timestamp("2024-01-02"))
    equal(frame["ts"].dtype.name, "datetime64[us, UTC]")
    equal(frame["ts"][0], pandas.Timestamp("2026-01-15T09:30:00.000001Z"))
    equal([bool(v) for v in frame["s"].isna()], [False, False, True])
    equal(frame["s"][1], "")
    equal(frame["h"].isna().tolist(), [False, True, False])
    equal(int(frame["huge"][0]), first["huge"])


check(quant_run.sql(QUERY))
sys.modules["pyarrow"] = None
check(quant_run.sql(QUERY))
try:
    quant_run.sql(QUERY, to="arrow")
    sys.exit("pyarrow is not there")
except quant_run.QuantError as error:
    equal("needs pyarrow" in str(error), True)
sys.modules["pyarrow"] = pyarrow
for to in ("rows", "pandas", "polars", "arrow"):
    for query, text in (("SELECT nothing FROM ohlcv", 'column "nothing" not found'), ("DROP TABLE ohlcv", "only reads"), ("SELECT error('x')", "x"), ("SELECT '\0'", "null byte")):
        try:
            quant_run.sql(query, to=to)
            sys.exit("%s is refused" % query)
        except quant_run.QuantError as error:
            equal(text in str(error), True)

# What is computed of a frame comes back, in all its forms the same.
bars = quant_run.sql("SELECT symbol, ts, close FROM ohlcv WHERE ts BETWEEN '2015-01-05' AND '2015-01-16' AND isodow(ts) < 6 ORDER BY symbol, ts")
bars["momentum"] = [math.sin(i * i) if i % 10 > 2 else None for i in range(len(bars))]
ours = bars[["symbol", "ts", "momentum"]]
values = int(ours["momentum"].notna().sum())
with quant_run.start("fit") as run:
    equal(quant_run.features(ours, "py_signals")["values_inserted"], values)
    for same in (
        ours.set_index(["symbol", "ts"]),
        pyarrow.Table.from_pandas(ours, preserve_index=False),
        polars.from_pandas(ours),
        polars.from_pandas(ours).lazy(),
        [row for row in ours.to_dict("records") if row["momentum"] == row["momentum"]],
    ):
        equal(quant_run.features(same, "py_signals")["values_unchanged"], values)
    sys.modules["pyarrow"] = None
    equal(quant_run.features(ours, "py_signals")["values_unchanged"], values)
    sys.modules["pyarrow"] = pyarrow
    wide = ours.pivot(index="ts", columns="symbol", values="momentum")
    equal(quant_run.features(wide, "py_panel", feature="momentum")["layout"], "panel")
    scores = polars.from_pandas(ours).rename({"momentum": "yhat"})
    equal(quant_run.predictions(scores, "py_model", map={"score": "yhat"})["values_inserted"], values)
    try:
        quant_run.features(ours.assign(symbol="NONE"), "py_none")
        sys.exit("there is no symbol NONE")
    except quant_run.QuantError as error:
        equal("symbol has no prices" in str(error), True)
        equal(error.report["refused"], True)
stored = quant_run.sql("SELECT symbol, ts, feature_value AS momentum FROM features_daily WHERE feature_version = 'py_signals' ORDER BY 1, 2")
both = ours.dropna().reset_index(drop=True)
equal(bool((stored["momentum"] == both["momentum"]).all() and (stored["symbol"] == both["symbol"]).all()), True)
