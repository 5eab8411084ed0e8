"""Limits, and requests that are refused."""

from mlflow import MlflowClient

from steps import known, step
import steps

client = MlflowClient()


def new():
    e = client.get_experiment_by_name("limits")
    e = e.experiment_id if e else client.create_experiment("limits")
    return client.create_run(known(e, "limits")).info.run_id


def post(endpoint, /, **d):
    return steps.server.post(endpoint, **d)


@step("limits")
def batches():
    r = new()
    ask = lambda **d: post("runs/log-batch", run_id=r, **d)
    metrics = lambda n: [{"key": "m%d" % i, "value": i, "timestamp": 1, "step": 0} for i in range(n)]
    pairs = lambda n: [{"key": "k%d" % i, "value": "v"} for i in range(n)]
    return {
        "1000 metrics": ask(metrics=metrics(1000)), "1001 metrics": ask(metrics=metrics(1001)), "100 params": ask(params=pairs(100)), "101 params": ask(params=pairs(101)), "100 tags": ask(tags=pairs(100)), "101 tags": ask(tags=pairs(101)),
        "1000 and more": ask(metrics=metrics(999), params=[{"key": "new%d" % i, "value": "v"} for i in range(2)]),
    }


@step("limits")
def lengths():
    r = new()
    out = {}
    for n in (250, 251):
        out["metric key %d" % n] = post("runs/log-metric", run_id=r, key="k" * n, value=1, timestamp=1)
        out["param key %d" % n] = post("runs/log-parameter", run_id=r, key="k" * n, value="v")
        out["tag key %d" % n] = post("runs/set-tag", run_id=r, key="k" * n, value="v")
    for n in (500, 6000, 6001):
        out["param value %d" % n] = post("runs/log-parameter", run_id=r, key="v%d" % n, value="v" * n)
    for n in (5000, 8000, 8001):
        out["tag value %d" % n] = post("runs/set-tag", run_id=r, key="v%d" % n, value="v" * n)
    out["kept"] = {k: len(v) for k, v in {**client.get_run(r).data.params, **client.get_run(r).data.tags}.items() if k.startswith("v")}
    out["batch key"] = post("runs/log-batch", run_id=r, metrics=[{"key": "k" * 251, "value": 1, "timestamp": 1, "step": 0}])
    out["batch param"] = post("runs/log-batch", run_id=r, params=[{"key": "k", "value": "v" * 6001}])
    out["batch tag"] = post("runs/log-batch", run_id=r, tags=[{"key": "k", "value": "v" * 8001}])
    for n in (500, 501):
        out["experiment name %d" % n] = {k: v for k, v in post("experiments/create", name="n" * n).items() if k == "status" or n > 500}
    return out


@step("limits")
def names():
    r = new()
    out = {}
    for k in ("", "a/b.c-d_e f", "a:b", "../up", "/abs", "a//b", "a/./b", "한국", "a\nb", "a'b", "a?b", ".", "a\u0000b"):
        out["metric " + repr(k)] = post("runs/log-metric", run_id=r, key=k, value=1, timestamp=1)
        out["param " + repr(k)] = post("runs/log-parameter", run_id=r, key=k, value="v")
        out["tag " + repr(k)] = post("runs/set-tag", run_id=r, key=k, value="v")
    return out


@step("refused")
def kinds_of_metrics():
    r = new()
    ask = lambda **d: post("runs/log-metric", **d)
    return {
        "no run": ask(key="k", value=1, timestamp=1), "no key": ask(run_id=r, value=1, timestamp=1), "no value": ask(run_id=r, key="k", timestamp=1), "no timestamp": ask(run_id=r, key="k", value=1), "text": ask(run_id=r, key="k", value="text", timestamp=1),
        "number as text": ask(run_id=r, key="k", value="1.5", timestamp=1), "time as text": ask(run_id=r, key="k", value=1, timestamp="5"), "bad time": ask(run_id=r, key="k", value=1, timestamp="soon"), "real step": ask(run_id=r, key="k", value=1, timestamp=1, step=1.5),
        "nan": ask(run_id=r, key="k", value="NaN", timestamp=1), "infinity": ask(run_id=r, key="k", value="Infinity", timestamp=1), "null": ask(run_id=r, key="k", value=None, timestamp=1), "list": ask(run_id=r, key=["k"], value=1, timestamp=1), "key number": ask(run_id=r, key=5, value=1, timestamp=1),
        "unknown field": ask(run_id=r, key="k", value=1, timestamp=1, nonsense=1), "true": ask(run_id=r, key="k", value=True, timestamp=1), "unknown run": ask(run_id="f" * 32, key="k", value=1, timestamp=1), "negative time": ask(run_id=r, key="k", value=1, timestamp=-5),
    }


@step("refused")
def kinds_of_params_and_tags():
    r = new()
    return {
        "param no run": post("runs/log-parameter", key="k", value="v"), "param no key": post("runs/log-parameter", run_id=r, value="v"), "param no value": post("runs/log-parameter", run_id=r, key="none"), "param number": post("runs/log-parameter", run_id=r, key="k", value=5), "param unknown": post("runs/log-parameter", run_id="f" * 32, key="k", value="v"),
        "tag no run": post("runs/set-tag", key="k", value="v"), "tag no key": post("runs/set-tag", run_id=r, value="v"), "tag no value": post("runs/set-tag", run_id=r, key="none"), "tag number": post("runs/set-tag", run_id=r, key="k", value=5), "tag unknown": post("runs/set-tag", run_id="f" * 32, key="k", value="v"),
        "old id": post("runs/set-tag", run_uuid=r, key="old", value="v"), "delete no key": post("runs/delete-tag", run_id=r), "batch no run": post("runs/log-batch", metrics=[]), "batch unknown": post("runs/log-batch", run_id="f" * 32), "batch metric": post("runs/log-batch", run_id=r, metrics=[{"key": "k"}]),
        "batch kind": post("runs/log-batch", run_id=r, metrics={"key": "k"}), "batch text": post("runs/log-batch", run_id=r, params="text"), "batch param": post("runs/log-batch", run_id=r, params=[{"value": "v"}]), "batch tag": post("runs/log-batch", run_id=r, tags=[{"value": "v"}]),
    }


@step("refused")
def runs_that_are_not_there():
    f = "f" * 32
    return {
        "get": steps.server.get("runs/get", run_id=f), "get nothing": steps.server.get("runs/get"), "get odd": steps.server.get("runs/get", run_id="../x"), "update": post("runs/update", run_id=f, status="FINISHED"), "delete": post("runs/delete", run_id=f), "restore": post("runs/restore", run_id=f),
        "history": steps.server.get("metrics/get-history", run_id=f, metric_key="k"), "history no key": steps.server.get("metrics/get-history", run_id=f), "list": steps.server.get("artifacts/list", run_id=f), "update nothing": post("runs/update"), "delete nothing": post("runs/delete"), "update status": post("runs/update", run_id=new(), status="NONSENSE"),
    }


@step("refused")
def experiments():
    return {
        "create nothing": post("experiments/create"), "create number": post("experiments/create", name=5), "create tags": post("experiments/create", name="odd tags", tags=[{"value": "v"}]), "get nothing": steps.server.get("experiments/get"), "by no name": steps.server.get("experiments/get-by-name"),
        "delete nothing": post("experiments/delete"), "delete unknown": post("experiments/delete", experiment_id="987654"), "update unknown": post("experiments/update", experiment_id="987654", new_name="x"), "update nothing": post("experiments/update"), "restore unknown": post("experiments/restore", experiment_id="987654"),
        "tag unknown": post("experiments/set-experiment-tag", experiment_id="987654", key="a", value="b"), "run in unknown": post("runs/create", experiment_id="987654"), "run in letters": post("runs/create", experiment_id="abc"), "id number": post("runs/create", experiment_id=0)["status"],
        "run start": post("runs/create", experiment_id="0", start_time="soon"), "run tags": post("runs/create", experiment_id="0", tags="x"), "run tags key": post("runs/create", experiment_id="0", tags=[{"value": "v"}]), "search view": post("experiments/search", max_results=1, view_type="NONSENSE"), "search nothing": post("experiments/search"),
    }


@step("refused")
def documents():
    ask = lambda body, kind="application/json": steps.server.ask("POST", "/api/2.0/mlflow/experiments/create", data=body, headers={"Content-Type": kind})
    return {
        "no JSON": ask(b"{not json"), "list": ask(b"[1]"), "text": ask(b'"text"'), "nothing": ask(b""), "null": ask(b"null"), "UTF-8": ask(b'{"name": "\xff\xfe"}')["status"], "other kind": ask(b'{"name": "typed"}', "text/plain"), "form": ask(b"name=form", "application/x-www-form-urlencoded"),
        "unknown": steps.server.get("no/such/endpoint")["status"], "method": steps.server.ask("DELETE", "/api/2.0/mlflow/experiments/get")["status"], "other prefix": steps.server.ask("GET", "/ajax-api/2.0/mlflow/experiments/get", params={"experiment_id": "0"}), "health": steps.server.ask("GET", "/health"),
    }
