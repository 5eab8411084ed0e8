"""Trains the folds of a recorded run of examples/models/lightgbm_model.py by hand, from
the features and labels of the lab alone, and compares every prediction, bit by bit.

    python by_hand.py FEATURES.csv LABELS.csv TRAIN.json PREDICTIONS.parquet
"""
import json
import sys

import lightgbm as lgb
import numpy as np
import pandas as pd

features, labels = (pd.read_csv(path, dtype={"symbol": str}, float_precision="round_trip") for path in sys.argv[1:3])
report, judged = json.load(open(sys.argv[3])), pd.read_parquet(sys.argv[4])
names = ["ret_5d", "ret_20d", "vol_20d"]
wide = features.pivot(index=["symbol", "ts"], columns="feature_name", values="feature_value")[names].dropna()
samples = wide.join(labels.set_index(["symbol", "ts"])["label_value"].rename("label"), how="inner").reset_index().sort_values(["ts", "symbol"], ignore_index=True)
sessions = sorted(features["ts"].unique())
number = {day: i for i, day in enumerate(sessions)}
horizon = 5


def uniqueness(fit):
    """The mean over (t, t1] of 1 / the labels of the symbol that hold the session."""
    out = pd.Series(index=fit.index, dtype=float)
    for _, rows in fit.groupby("symbol"):
        t = rows["ts"].map(number).to_numpy()
        held = np.zeros(len(sessions) + horizon + 1, int)
        for k in range(1, horizon + 1):
            np.add.at(held, t + k, 1)
        share = np.concatenate([[0.0], np.cumsum(np.where(held > 0, 1 / np.maximum(held, 1), 0.0))])
        out[rows.index] = (share[t + horizon + 1] - share[t + 1]) / horizon
        plain = [np.mean([1 / held[s + k] for k in range(1, horizon + 1)]) for s in t]
        assert np.allclose(out[rows.index], plain, rtol=1e-9, atol=0)
    return out


compared = 0
for fold in report["metrics"]["folds"]:
    test = samples[samples["ts"].between(fold["test_from"], fold["test_to"])]
    first = number[fold["test_from"]]
    fit = samples[samples["ts"].map(number) + horizon < first]  # t1 before the test: purged, and nothing after it
    assert len(fit) == fold["train_samples"] and len(test) == fold["samples"], fold
    settings = {"learning_rate": 0.05, "num_leaves": 15, "min_data_in_leaf": 50, "bagging_fraction": 0.8, "bagging_freq": 1, "objective": "regression",
                "verbose": -1, "seed": 7, "deterministic": True, "force_row_wise": True, "num_threads": 1}
    model = lgb.train(settings, lgb.Dataset(fit[names].set_axis([f"f{i}" for i in range(3)], axis=1), fit["label"], weight=uniqueness(fit)), num_boost_round=100)
    mine = model.predict(test[names].to_numpy(), num_threads=1)
    theirs = judged[judged["fold"] == fold["task_id"]]
    assert (theirs["symbol"].to_numpy() == test["symbol"].to_numpy()).all()
    assert (theirs["label"].to_numpy() == test["label"].to_numpy()).all()
    assert (theirs["score"].to_numpy() == mine).all(), (fold["task_id"], np.abs(theirs["score"].to_numpy() - mine).max())
    compared += len(mine)
assert compared == len(judged)
print(compared, "predictions are equal to the bit")
