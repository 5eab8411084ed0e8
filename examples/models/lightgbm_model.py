"""A LightGBM model for `quant train --algo program` (docs/models.md).

    quant train --experiment ID --algo program --param num_leaves=15 -- python lightgbm_model.py

Needs lightgbm, pandas and pyarrow. Parameters: whatever LightGBM takes.
"""
import json
import os

import lightgbm as lgb
import pandas as pd

protocol = json.load(open(os.environ["QUANT_PROTOCOL"]))
features = protocol["features"]
file = os.path.join(protocol["model"], "model.txt")

if protocol["fit"]:  # stages train and fit
    fit = pd.read_parquet(protocol["fit"])
    settings = {"learning_rate": 0.05, "num_leaves": 15, "min_data_in_leaf": 50, "bagging_fraction": 0.8, "bagging_freq": 1}
    settings |= {"objective": "binary" if protocol["label_kind"] == "direction" else "regression", "verbose": -1}
    settings |= {"seed": protocol["seed"], "deterministic": True, "force_row_wise": True, "num_threads": 1}
    settings |= {key: json.loads(value) for key, value in protocol["params"].items()}
    rounds = settings.pop("num_boost_round", 100)
    booster = lgb.train(settings, lgb.Dataset(fit[features], fit["label"], weight=fit["weight"]), num_boost_round=rounds)
    booster.save_model(file)
    pd.DataFrame({"feature": features, "gain": booster.feature_importance("gain")}).to_parquet(protocol["importances"])
else:  # stage score
    booster = lgb.Booster(model_file=file)

if protocol["predict"]:  # stages train and score
    rows = pd.read_parquet(protocol["predict"])
    # num_threads: whatever the number of rows, each is predicted alike.
    rows["score"] = booster.predict(rows[features], num_threads=1)
    rows[["symbol", "ts", "score"]].to_parquet(protocol["predictions"])
