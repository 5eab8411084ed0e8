"""A scikit-learn pipeline for `quant train --algo program` (docs/models.md).

    quant train --experiment ID --algo program -- python sklearn_model.py

Needs scikit-learn, pandas and pyarrow. What is fitted (scaling, too) is fitted on the
fit rows alone.
"""
import json
import os

import joblib
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

protocol = json.load(open(os.environ["QUANT_PROTOCOL"]))
features = protocol["features"]
file = os.path.join(protocol["model"], "model.joblib")
direction = protocol["label_kind"] == "direction"

if protocol["fit"]:  # stages train and fit
    fit = pd.read_parquet(protocol["fit"])
    kind = HistGradientBoostingClassifier if direction else HistGradientBoostingRegressor
    settings = {"max_iter": 100, "learning_rate": 0.05, "max_leaf_nodes": 15, "early_stopping": False}
    settings |= {key: json.loads(value) for key, value in protocol["params"].items()}
    model = make_pipeline(StandardScaler(), kind(**settings, random_state=protocol["seed"]))
    model.fit(fit[features], fit["label"], **{kind.__name__.lower() + "__sample_weight": fit["weight"]})
    joblib.dump(model, file)
else:  # stage score
    model = joblib.load(file)

if protocol["predict"]:  # stages train and score
    rows = pd.read_parquet(protocol["predict"])
    rows["score"] = model.predict_proba(rows[features])[:, 1] if direction else model.predict(rows[features])
    rows[["symbol", "ts", "score"]].to_parquet(protocol["predictions"])
