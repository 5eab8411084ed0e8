"""The research example of Qlib's README, as it is: Alpha158, LightGBM, TopkDropout 50/5
(examples/benchmarks/LightGBM/workflow_config_lightgbm_Alpha158.yaml), on a file of prices.

    python qlib_example.py FILE.csv OUT

FILE.csv: date,open,high,low,close,volume,Name. OUT gets features.parquet, scores.csv (a
day and name of the test segment), label.csv, report.csv (a session of the account) and
figures.json. Data, segments and the benchmark are other ones than in the example; its
handler, label, model, strategy, exchange and analysis are not touched.
"""
import json
import pathlib
import sys

import numpy as np
import pandas as pd
import qlib
from qlib.constant import REG_CN
from qlib.contrib.evaluate import risk_analysis
from qlib.utils import init_instance_by_config
from qlib.workflow import R
from qlib.workflow.record_temp import PortAnaRecord, SigAnaRecord, SignalRecord

SEGMENTS = {"train": ("2013-02-08", "2015-12-31"), "valid": ("2016-01-01", "2016-12-31"), "test": ("2017-01-01", "2018-02-07")}
MODEL = {"loss": "mse", "colsample_bytree": 0.8879, "learning_rate": 0.2, "subsample": 0.8789, "lambda_l1": 205.6999,
         "lambda_l2": 580.9768, "max_depth": 8, "num_leaves": 210, "num_threads": 20}


def store(bars, folder):
    """Writes Qlib's binary store: float32, the number of the first session in front."""
    days = sorted(bars["date"].unique())
    number = {day: n for n, day in enumerate(days)}
    (folder / "calendars").mkdir(parents=True)
    (folder / "calendars" / "day.txt").write_text("\n".join(days) + "\n")
    (folder / "instruments").mkdir()
    lines = []
    for name, rows in bars.groupby("Name"):
        rows = rows.sort_values("date")
        at = rows["date"].map(number).to_numpy()
        lines.append(f"{name}\t{rows['date'].iloc[0]}\t{rows['date'].iloc[-1]}\n")
        target = folder / "features" / name.lower()
        target.mkdir(parents=True)
        columns = {field: rows[field].to_numpy(float) for field in ["open", "high", "low", "close", "volume"]}
        columns["vwap"] = (columns["high"] + columns["low"] + columns["close"]) / 3  # as quant has it: bars hold no traded value
        columns["change"] = np.append(np.nan, columns["close"][1:] / columns["close"][:-1] - 1)
        columns["factor"] = np.ones(len(rows))
        for field, values in columns.items():
            whole = np.full(at[-1] - at[0] + 1, np.nan)
            whole[at - at[0]] = values
            np.append(float(at[0]), whole).astype("<f4").tofile(target / f"{field}.day.bin")
    (folder / "instruments" / "all.txt").write_text("".join(lines))


def main(file, out):
    out = pathlib.Path(out).resolve()
    out.mkdir(parents=True)
    bars = pd.read_csv(file)
    store(bars, out / "store")
    qlib.init(provider_uri=str(out / "store"), region=REG_CN, kernels=2,
              exp_manager={"class": "MLflowExpManager", "module_path": "qlib.workflow.expm",
                           "kwargs": {"uri": "sqlite:///" + str(out / "mlflow.db"), "default_exp_name": "example"}})
    handler = {"class": "Alpha158", "module_path": "qlib.contrib.data.handler",
               "kwargs": {"start_time": SEGMENTS["train"][0], "end_time": SEGMENTS["test"][1],
                          "fit_start_time": SEGMENTS["train"][0], "fit_end_time": SEGMENTS["train"][1], "instruments": "all"}}
    dataset = init_instance_by_config({"class": "DatasetH", "module_path": "qlib.data.dataset",
                                       "kwargs": {"handler": handler, "segments": SEGMENTS}})
    model = init_instance_by_config({"class": "LGBModel", "module_path": "qlib.contrib.model.gbdt", "kwargs": MODEL})
    portfolio = {
        "strategy": {"class": "TopkDropoutStrategy", "module_path": "qlib.contrib.strategy",
                     "kwargs": {"signal": "<PRED>", "topk": 50, "n_drop": 5}},
        "backtest": {"start_time": SEGMENTS["test"][0], "end_time": "2018-02-05", "account": 100000000,
                     "benchmark": sorted(bars["Name"].unique()),
                     "exchange_kwargs": {"limit_threshold": 0.095, "deal_price": "close", "open_cost": 0.0005,
                                         "close_cost": 0.0015, "min_cost": 5}},
    }
    with R.start(experiment_name="example"):
        model.fit(dataset)
        recorder = R.get_recorder()
        SignalRecord(model, dataset, recorder).generate()
        SigAnaRecord(recorder).generate()
        portfolio["strategy"]["kwargs"]["signal"] = (model, dataset)
        PortAnaRecord(recorder, portfolio, "day").generate()
        figures = {key: float(value) for key, value in recorder.list_metrics().items() if "." not in key or "return" in key}
        scores = recorder.load_object("pred.pkl").iloc[:, 0].rename("score")
        label = recorder.load_object("label.pkl").iloc[:, 0].rename("label")
        report = recorder.load_object("portfolio_analysis/report_normal_1day.pkl")
    figures["rounds"] = model.model.best_iteration
    figures["account"] = risk_analysis(report["return"] - report["cost"], freq="day")["risk"].to_dict()
    figures["benchmark"] = risk_analysis(report["bench"], freq="day")["risk"].to_dict()
    dataset.handler.fetch(col_set="feature").astype("float64").rename_axis(["ts", "symbol"]).reset_index().to_parquet(out / "features.parquet")
    for name, column in {"scores": scores, "label": label}.items():
        column.rename_axis(["ts", "symbol"]).reset_index().dropna().to_csv(out / f"{name}.csv", index=False)
    report.to_csv(out / "report.csv")
    (out / "figures.json").write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
