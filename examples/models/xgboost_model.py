"""An XGBoost model for `quant train --algo program` (docs/models.md).

    quant train --experiment ID --algo program --param max_depth=3 -- python xgboost_model.py

Needs xgboost, pandas and pyarrow. Parameters: whatever XGBoost takes.
"""
import json
import os

import pandas as pd
import xgboost as xgb

protocol = json.load(open(os.environ["QUANT_PROTOCOL"]))
features = protocol["features"]
file = os.path.join(protocol["model"], "model.json")
direction = protocol["label_kind"] == "direction"

if protocol["fit"]:  # stages train and fit
    fit = pd.read_parquet(protocol["fit"])
    settings = {"max_depth": 3, "eta": 0.05, "subsample": 0.8, "min_child_weight": 20, "objective": "binary:logistic" if direction else "reg:squarederror"}
    settings |= {key: json.loads(value) for key, value in protocol["params"].items()}
    rounds = settings.pop("num_boost_round", 100)
    data = xgb.DMatrix(fit[features], fit["label"], weight=fit["weight"])
    booster = xgb.train(settings | {"seed": protocol["seed"], "nthread": 1}, data, num_boost_round=rounds)
    booster.save_model(file)
else:  # stage score
    booster = xgb.Booster(model_file=file)

if protocol["predict"]:  # stages train and score
    rows = pd.read_parquet(protocol["predict"])
    rows["score"] = booster.predict(xgb.DMatrix(rows[features])).astype(float)
    rows[["symbol", "ts", "score"]].to_parquet(protocol["predictions"])
