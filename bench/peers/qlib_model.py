"""The model of Qlib's example for `quant train --algo program`: its LGBModel, with its
label (CSZScoreNorm: of each session mean 0 and deviation 1) and its early stopping on a
last part of what it learns from, here the last quarter of the sessions.
"""
import json
import os

import lightgbm as lgb
import pandas as pd

SETTINGS = {"objective": "mse", "verbosity": -1, "colsample_bytree": 0.8879, "learning_rate": 0.2, "subsample": 0.8789, "lambda_l1": 205.6999,
            "lambda_l2": 580.9768, "max_depth": 8, "num_leaves": 210, "num_threads": 1, "deterministic": True}
protocol = json.load(open(os.environ["QUANT_PROTOCOL"]))
features, file = protocol["features"], os.path.join(protocol["model"], "model.txt")
if protocol["fit"]:
    fit = pd.read_parquet(protocol["fit"])
    by = fit.groupby("ts")["label"]
    fit["label"] = (fit["label"] - by.transform("mean")) / by.transform("std")
    days = sorted(fit["ts"].unique())
    late = fit["ts"] >= days[len(days) * 3 // 4]
    train = lgb.Dataset(fit.loc[~late, features], fit.loc[~late, "label"])
    valid = lgb.Dataset(fit.loc[late, features], fit.loc[late, "label"])
    booster = lgb.train(SETTINGS, train, num_boost_round=1000, valid_sets=[valid], callbacks=[lgb.early_stopping(50, verbose=False)])
    booster.save_model(file, num_iteration=booster.best_iteration)
if protocol["predict"]:
    rows = pd.read_parquet(protocol["predict"])
    rows["score"] = lgb.Booster(model_file=file).predict(rows[features], num_threads=1)
    rows[["symbol", "ts", "score"]].to_parquet(protocol["predictions"])
