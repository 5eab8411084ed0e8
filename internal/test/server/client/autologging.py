"""Autolog of scikit-learn and LightGBM."""

import mlflow
from mlflow import MlflowClient

from steps import known, step

client = MlflowClient()
OPTIONS = {"silent": True, "log_input_examples": False}


def files(run_id, path=None):
    out = []
    for f in client.list_artifacts(run_id, path):
        out += files(run_id, f.path) if f.is_dir else [f.path]
    return out


def seen(run_id):
    run = client.get_run(run_id)
    d = run.to_dictionary()
    d["data"]["params"] = {k: v for k, v in sorted(d["data"]["params"].items())}
    d["files"] = sorted(files(run_id))
    if d.get("outputs"):
        d["outputs"] = [m["step"] for m in d["outputs"]["model_outputs"]]
    models = client.search_logged_models([run.info.experiment_id], filter_string="source_run_id = '%s'" % run_id)
    d["models"] = [{"name": m.name, "status": str(m.status), "type": m.model_type, "params": len(m.params), "metrics": len(m.metrics or []), "tags": sorted(k for k in m.tags if not k.startswith("mlflow.source"))} for m in models]
    return d


def data():
    from sklearn.datasets import make_classification

    return make_classification(n_samples=200, n_features=6, random_state=0)


@step("autolog")
def sklearn_model():
    from sklearn.linear_model import LogisticRegression

    known(mlflow.set_experiment("autolog").experiment_id, "autolog")
    mlflow.sklearn.autolog(**OPTIONS)
    try:
        x, y = data()
        with mlflow.start_run(run_name="sklearn") as r:
            LogisticRegression(C=0.5).fit(x, y)
    finally:
        mlflow.sklearn.autolog(disable=True)
    return seen(r.info.run_id)


@step("autolog")
def sklearn_scored():
    from sklearn.tree import DecisionTreeClassifier

    mlflow.sklearn.autolog(log_models=False, **OPTIONS)
    try:
        x, y = data()
        with mlflow.start_run(run_name="scored") as r:
            DecisionTreeClassifier(max_depth=2, random_state=0).fit(x[:100], y[:100]).score(x[100:], y[100:])
    finally:
        mlflow.sklearn.autolog(disable=True)
    return seen(r.info.run_id)


@step("autolog")
def grid_search():
    from sklearn.model_selection import GridSearchCV
    from sklearn.tree import DecisionTreeClassifier

    mlflow.sklearn.autolog(log_models=False, **OPTIONS)
    try:
        x, y = data()
        with mlflow.start_run(run_name="grid") as r:
            GridSearchCV(DecisionTreeClassifier(random_state=0), {"max_depth": [1, 2, 3]}, cv=2).fit(x, y)
    finally:
        mlflow.sklearn.autolog(disable=True)
    children = client.search_runs([r.info.experiment_id], "tags.mlflow.parentRunId = '%s'" % r.info.run_id, order_by=["params.max_depth"])
    parent = seen(r.info.run_id)
    parent["data"]["metrics"] = sorted(parent["data"]["metrics"])
    return {"parent": parent, "children": [{"depth": c.data.params["max_depth"], "score": c.data.metrics["mean_test_score"], "status": c.info.status, "tags": sorted(k for k in c.data.tags if not k.startswith("mlflow.source.git"))} for c in children]}


@step("autolog")
def lightgbm_boosted():
    import lightgbm

    mlflow.lightgbm.autolog(**OPTIONS)
    try:
        x, y = data()
        with mlflow.start_run(run_name="lightgbm") as r:
            train = lightgbm.Dataset(x[:150], y[:150])
            lightgbm.train({"objective": "binary", "verbose": -1, "num_leaves": 4, "num_threads": 1, "deterministic": True}, train, 8, valid_sets=[train, lightgbm.Dataset(x[150:], y[150:])], valid_names=["train", "valid"])
    finally:
        mlflow.lightgbm.autolog(disable=True)
    d = seen(r.info.run_id)
    d["history"] = [[m.step, m.value] for m in client.get_metric_history(r.info.run_id, "valid-binary_logloss")]
    return d
