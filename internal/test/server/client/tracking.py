"""Runs, their params, metrics and tags, experiments."""

import time

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType

from steps import error, known, server, step  # noqa: F401
import steps

client = MlflowClient()


def experiment(name):
    """Makes the named experiment current, and its id."""
    e = mlflow.set_experiment(name)
    return known(e.experiment_id, name)


def shown(run_id):
    """A run as the client is given it, inputs and outputs included."""
    run = client.get_run(run_id)
    d = run.to_dictionary()
    return d


def history(run_id, key):
    return [{"value": m.value, "step": m.step, "timestamp": m.timestamp} for m in client.get_metric_history(run_id, key)]


# --- tracking


@step("tracking")
def five_lines():
    experiment("everyday")
    with mlflow.start_run(run_name="first") as r:
        mlflow.log_param("lr", 0.1)
        mlflow.log_metric("loss", 0.5)
    return shown(r.info.run_id)


@step("tracking")
def raw_run():
    r = mlflow.start_run(run_name="raw")
    mlflow.log_metric("loss", 0.25, step=3)
    mlflow.end_run()
    return steps.server.get("runs/get", run_id=r.info.run_id)


@step("tracking")
def default_experiment():
    with mlflow.start_run(experiment_id="0", run_name="in default") as r:
        mlflow.log_param("a", 1)
    return shown(r.info.run_id)


@step("tracking")
def kinds_of_params():
    with mlflow.start_run(run_name="params") as r:
        mlflow.log_params({"int": 1, "float": 1e-7, "bool": True, "none": None, "list": [1, 2], "dict": {"a": 1}, "text": "한국어 ✓", "empty": "", "space": " x ", "lines": "a\nb"})
    return shown(r.info.run_id)["data"]["params"]


@step("tracking")
def generated_name():
    with mlflow.start_run() as r:
        name = r.info.run_name
    d = shown(r.info.run_id)
    return {"same": d["info"]["run_name"] == name, "tag": d["data"]["tags"]["mlflow.runName"] == name, "words": name.count("-")}


@step("tracking")
def metrics_by_step():
    with mlflow.start_run(run_name="metrics") as r:
        for i in range(5):
            mlflow.log_metric("loss", 1 / (i + 1), step=i)
        mlflow.log_metrics({"a": 1, "b": 2.5}, step=7)
    return {"data": shown(r.info.run_id)["data"]["metrics"], "history": history(r.info.run_id, "loss"), "a": history(r.info.run_id, "a")}


@step("tracking")
def the_metric_shown_is_the_last_by_step():
    r = client.create_run(steps_experiment()).info.run_id
    client.log_metric(r, "m", 1.0, timestamp=1000, step=5)
    client.log_metric(r, "m", 2.0, timestamp=2000, step=3)
    client.log_metric(r, "t", 1.0, timestamp=2000, step=0)
    client.log_metric(r, "t", 2.0, timestamp=1000, step=0)
    client.log_metric(r, "v", 2.0, timestamp=1000, step=0)
    client.log_metric(r, "v", 1.0, timestamp=1000, step=0)
    return {"shown": shown(r)["data"]["metrics"], "m": history(r, "m"), "t": history(r, "t"), "v": history(r, "v")}


def steps_experiment():
    return client.get_experiment_by_name("everyday").experiment_id


@step("tracking")
def same_point_twice():
    r = client.create_run(steps_experiment()).info.run_id
    for _ in range(2):
        client.log_metric(r, "m", 1.5, timestamp=1234, step=1)
    return history(r, "m")


@step("tracking")
def negative_step():
    r = client.create_run(steps_experiment()).info.run_id
    client.log_metric(r, "m", 1.5, timestamp=1234, step=-3)
    client.log_metric(r, "m", 2.5, timestamp=1234, step=2**62)
    return {"history": history(r, "m"), "shown": shown(r)["data"]["metrics"]}


@step("tracking")
def same_param_twice():
    r = client.create_run(steps_experiment()).info.run_id
    client.log_param(r, "p", 1)
    client.log_param(r, "p", "1")
    return {"kept": shown(r)["data"]["params"], "changed": error(client.log_param, r, "p", 2)}


@step("tracking")
def params_changed_in_a_batch():
    r = client.create_run(steps_experiment()).info.run_id
    client.log_param(r, "p", 1)
    e = error(client.log_batch, r, params=[Param("q", "1"), Param("p", "2")])
    return {"error": e, "kept": shown(r)["data"]["params"]}


@step("tracking")
def renamed_run():
    r = client.create_run(steps_experiment(), run_name="before").info.run_id
    client.update_run(r, name="after")
    one = shown(r)
    client.set_tag(r, "mlflow.runName", "by tag")
    return {"one": one, "two": shown(r)}


@step("tracking")
def status_set():
    r = client.create_run(steps_experiment()).info.run_id
    seen = []
    for s in ("SCHEDULED", "RUNNING", "FINISHED"):
        client.update_run(r, status=s)
        d = shown(r)["info"]
        seen.append([d["status"], d["end_time"]])
    return seen


@step("tracking")
def times_given():
    r = client.create_run(steps_experiment(), start_time=1_500_000_000_000, run_name="timed").info.run_id
    client.set_terminated(r, "FINISHED", end_time=1_500_000_001_500)
    i = client.get_run(r).info
    return {"start": str(i.start_time), "end": str(i.end_time), "status": i.status}


@step("tracking")
def description():
    with mlflow.start_run(run_name="described", description="what it is") as r:
        pass
    return shown(r.info.run_id)["data"]["tags"]


@step("tracking")
def tags_at_start():
    with mlflow.start_run(run_name="tagged", tags={"team": "alpha", "n": "3"}) as r:
        pass
    return shown(r.info.run_id)["data"]["tags"]


@step("tracking")
def failed_by_an_exception():
    try:
        with mlflow.start_run(run_name="fails") as r:
            mlflow.log_metric("m", 1)
            raise ValueError("on purpose")
    except ValueError:
        pass
    return shown(r.info.run_id)["info"]


@step("tracking")
def killed():
    r = client.create_run(steps_experiment(), run_name="killed").info.run_id
    client.set_terminated(r, "KILLED")
    return shown(r)["info"]


@step("tracking")
def resumed():
    with mlflow.start_run(run_name="resumed") as r:
        mlflow.log_metric("m", 1, step=0)
        mlflow.log_param("p", 1)
    with mlflow.start_run(run_id=r.info.run_id) as again:
        running = client.get_run(r.info.run_id).info.status
        mlflow.log_metric("m", 2, step=1)
        mlflow.log_param("q", 2)
        mlflow.set_tag("again", "yes")
    return {"same": again.info.run_id == r.info.run_id, "running": running, "run": shown(r.info.run_id), "history": history(r.info.run_id, "m")}


@step("tracking")
def resumed_after_failure():
    r = client.create_run(steps_experiment(), run_name="second try").info.run_id
    client.set_terminated(r, "FAILED")
    with mlflow.start_run(run_id=r):
        mlflow.log_metric("m", 3)
    found = client.search_runs([steps_experiment()], "attributes.run_name = 'second try'")
    return {"run": shown(r), "found": [f.info.run_id == r for f in found]}


@step("tracking")
def logged_after_the_end():
    r = client.create_run(steps_experiment(), run_name="ended").info.run_id
    client.set_terminated(r)
    client.log_metric(r, "late", 1.0, timestamp=1000, step=1)
    client.log_param(r, "late", "p")
    client.set_tag(r, "late", "t")
    return shown(r)


# --- nested


@step("nested")
def parent_and_children():
    experiment("family")
    with mlflow.start_run(run_name="parent") as parent:
        for i in range(3):
            with mlflow.start_run(run_name="child %d" % i, nested=True):
                mlflow.log_param("i", i)
                mlflow.log_metric("score", i * i)
    found = mlflow.search_runs(filter_string="tags.mlflow.parentRunId = '%s'" % parent.info.run_id, output_format="list", order_by=["metrics.score DESC"])
    return [f.to_dictionary() for f in found]


@step("nested")
def grandchildren():
    with mlflow.start_run(run_name="top"):
        with mlflow.start_run(run_name="middle", nested=True):
            with mlflow.start_run(run_name="leaf", nested=True) as leaf:
                pass
    out, r = [], leaf.info.run_id
    while r:
        d = client.get_run(r)
        out.append(d.info.run_name)
        r = d.data.tags.get("mlflow.parentRunId")
    return out


@step("nested")
def parent_by_id():
    with mlflow.start_run(run_name="first parent") as p:
        pass
    with mlflow.start_run(run_name="later child", parent_run_id=p.info.run_id) as c:
        pass
    return {"parent": mlflow.get_parent_run(c.info.run_id).info.run_name, "none": mlflow.get_parent_run(p.info.run_id)}


# --- batches


@step("batches")
def thousand_metrics():
    experiment("batches")
    with mlflow.start_run(run_name="1001 metrics") as r:
        mlflow.log_metrics({"m%04d" % i: i / 8 for i in range(1001)}, step=1)
    return shown(r.info.run_id)["data"]["metrics"]


@step("batches")
def many_params():
    with mlflow.start_run(run_name="250 params") as r:
        mlflow.log_params({"p%03d" % i: i for i in range(250)})
    return len(client.get_run(r.info.run_id).data.params)


@step("batches")
def everything_at_once():
    r = client.create_run(exp("batches")).info.run_id
    client.log_batch(r, [Metric("m", i, 1000 + i, i) for i in range(10)], [Param("a", "1"), Param("b", "2")], [RunTag("t", "1"), RunTag("t", "2")])
    return {"run": shown(r)["data"], "history": history(r, "m")}


def exp(name):
    return client.get_experiment_by_name(name).experiment_id


@step("batches")
def empty_batch():
    r = client.create_run(exp("batches")).info.run_id
    client.log_batch(r)
    return shown(r)["data"]


@step("batches")
def param_twice_in_a_batch():
    r = client.create_run(exp("batches")).info.run_id
    return {
        "same": error(client.log_batch, r, params=[Param("a", "1"), Param("a", "1")]),
        "other": error(client.log_batch, r, params=[Param("b", "1"), Param("b", "2")]),
        "kept": shown(r)["data"]["params"],
    }


@step("batches")
def long_history():
    r = client.create_run(exp("batches")).info.run_id
    for part in range(3):
        client.log_batch(r, [Metric("m", i / 4, 10_000 + i, i) for i in range(part * 1000, part * 1000 + 1000)])
    points = history(r, "m")
    raw = steps.server.get("metrics/get-history", run_id=r, metric_key="m", max_results=2)
    token = raw["body"].pop("next_page_token", None)
    second = steps.server.get("metrics/get-history", run_id=r, metric_key="m", max_results=2, page_token=token)
    second["body"].pop("next_page_token", None)
    return {"points": len(points), "ordered": [p["step"] for p in points] == list(range(3000)), "page": raw, "token": token is not None, "second": second}


@step("batches")
def history_of_no_metric():
    r = client.create_run(exp("batches")).info.run_id
    return {"client": history(r, "none"), "raw": steps.server.get("metrics/get-history", run_id=r, metric_key="none")}


# --- nonfinite


@step("nonfinite")
def nan_and_infinity():
    experiment("nonfinite")
    with mlflow.start_run(run_name="nonfinite") as r:
        mlflow.log_metrics({"nan": float("nan"), "inf": float("inf"), "ninf": float("-inf"), "tiny": 5e-324, "huge": 1.7976931348623157e308, "minus zero": -0.0})
        mlflow.log_metric("mixed", float("nan"), step=0)
        mlflow.log_metric("mixed", 2, step=1)
    return {"shown": shown(r.info.run_id)["data"]["metrics"], "history": {k: history(r.info.run_id, k) for k in ("nan", "inf", "mixed")}, "raw": sorted(
        ([m["key"], m["value"]] for m in steps.server.get("runs/get", run_id=r.info.run_id)["body"]["run"]["data"]["metrics"]), key=lambda m: m[0])}


@step("nonfinite")
def searched_by_nonfinite():
    found = {}
    for f in ("metrics.nan > 0", "metrics.nan = 0", "metrics.inf > 1e300", "metrics.ninf < -1e300", "metrics.mixed = 2"):
        found[f] = len(client.search_runs([exp("nonfinite")], f))
    return found


@step("nonfinite")
def ordered_by_nonfinite():
    e = known(client.create_experiment("ordered nonfinite"), "ordered nonfinite")
    for name, v in (("one", 1), ("nan", float("nan")), ("inf", float("inf")), ("ninf", float("-inf")), ("none", None), ("two", 2)):
        r = client.create_run(e, run_name=name, start_time=1000).info.run_id
        if v is not None:
            client.log_metric(r, "m", v, timestamp=1)
    return {d: [x.info.run_name for x in client.search_runs([e], order_by=["metrics.m " + d])] for d in ("ASC", "DESC")}


# --- async


@step("async")
def five_hundred_metrics():
    experiment("async")
    with mlflow.start_run(run_name="async") as r:
        for i in range(500):
            mlflow.log_metric("m", i, step=i, synchronous=False)
        mlflow.log_params({"a": 1, "b": 2}, synchronous=False).wait()
        mlflow.set_tag("t", "x", synchronous=False).wait()
        mlflow.flush_async_logging()
    h = history(r.info.run_id, "m")
    return {"points": len(h), "values": sorted(p["value"] for p in h) == list(range(500)), "run": shown(r.info.run_id)["data"]}


@step("async")
def system_metrics():
    mlflow.set_system_metrics_sampling_interval(0.1)
    mlflow.set_system_metrics_samples_before_logging(1)
    with mlflow.start_run(run_name="system", log_system_metrics=True) as r:
        time.sleep(1)
    keys = sorted(k for k in client.get_run(r.info.run_id).data.metrics if "gpu" not in k)
    h = history(r.info.run_id, "system/cpu_utilization_percentage")
    return {"keys": keys, "several": len(h) > 1, "steps": [p["step"] for p in h][:2]}


# --- tags


@step("tags")
def set_and_changed():
    experiment("tags")
    with mlflow.start_run(run_name="tags") as r:
        mlflow.set_tag("a", 1)
        mlflow.set_tags({"a": "changed", "b/c.d e": "x", "한국": "어"})
    return shown(r.info.run_id)["data"]["tags"]


@step("tags")
def deleted_tag():
    r = client.create_run(exp("tags"), tags={"a": "1", "b": "2"}).info.run_id
    client.delete_tag(r, "a")
    return {"left": shown(r)["data"]["tags"], "missing": error(client.delete_tag, r, "a"), "run": error(client.delete_tag, "0" * 32, "a")}


@step("tags")
def reserved_tags_as_any_other():
    r = client.create_run(exp("tags")).info.run_id
    client.set_tag(r, "mlflow.user", "someone")
    client.set_tag(r, "mlflow.note.content", "a note\nof two lines")
    d = client.get_run(r)
    return {"user": d.data.tags["mlflow.user"] == "someone", "note": d.data.tags["mlflow.note.content"]}


# --- lifecycle


@step("lifecycle")
def deleted_run():
    e = experiment("lifecycle")
    r = client.create_run(e, run_name="deleted").info.run_id
    client.create_run(e, run_name="kept")
    client.delete_run(r)
    names = lambda view: sorted(x.info.run_name for x in client.search_runs([e], run_view_type=view))
    out = {
        "run": shown(r)["info"],
        "active": names(ViewType.ACTIVE_ONLY),
        "deleted": names(ViewType.DELETED_ONLY),
        "all": names(ViewType.ALL),
        "metric": error(client.log_metric, r, "m", 1),
        "param": error(client.log_param, r, "m", 1),
        "tag": error(client.set_tag, r, "m", 1),
        "batch": error(client.log_batch, r, tags=[RunTag("a", "b")]),
        "again": error(client.delete_run, r),
        "update": error(client.update_run, r, name="x"),
    }
    client.restore_run(r)
    out["restored"] = shown(r)["info"]
    out["restored twice"] = error(client.restore_run, r)
    return out


@step("lifecycle")
def deleted_experiment():
    e = known(client.create_experiment("to delete"), "to delete")
    r = client.create_run(e, run_name="inside").info.run_id
    client.delete_experiment(e)
    d = dict(client.get_experiment(e))
    out = {
        "experiment": d,
        "by name": dict(client.get_experiment_by_name("to delete")),
        "run": shown(r)["info"]["lifecycle_stage"],
        "set": error(mlflow.set_experiment, "to delete"),
        "create": error(client.create_experiment, "to delete"),
        "run in it": error(client.create_run, e),
        "again": error(client.delete_experiment, e),
        "rename": error(client.rename_experiment, e, "other name"),
        "tag": error(client.set_experiment_tag, e, "a", "b"),
        "active": [x.name for x in client.search_experiments(filter_string="name = 'to delete'")],
        "deleted": [x.name for x in client.search_experiments(view_type=ViewType.DELETED_ONLY)],
    }
    client.restore_experiment(e)
    out["restored"] = client.get_experiment(e).lifecycle_stage
    out["its run"] = shown(r)["info"]["lifecycle_stage"]
    out["restored twice"] = error(client.restore_experiment, e)
    return out


# --- experiments


@step("experiments")
def created_with_tags():
    e = known(client.create_experiment("with tags", tags={"a": "1", "b": "2"}), "with tags")
    client.set_experiment_tag(e, "a", "3")
    client.set_experiment_tag(e, "c", "4")
    client.delete_experiment_tag(e, "b")
    return {"experiment": dict(client.get_experiment(e)), "raw": steps.server.get("experiments/get", experiment_id=e), "missing": error(client.delete_experiment_tag, e, "b")}


@step("experiments")
def of_a_name():
    return {
        "none": client.get_experiment_by_name("no such experiment"),
        "raw": steps.server.get("experiments/get-by-name", experiment_name="no such experiment"),
        "id": error(client.get_experiment, "987654321"),
        "letters": error(client.get_experiment, "abc"),
        "twice": error(client.create_experiment, "everyday"),
        "default": dict(client.get_experiment("0")),
    }


@step("experiments")
def invalid_names():
    made = lambda n: bool(known(client.create_experiment(n), n))
    return {str(n)[:10]: error(made, n) for n in ("", None, 123, "x" * 501, "ok/with slash", "../up")}


@step("experiments")
def renamed():
    e = known(client.create_experiment("old name"), "old name")
    client.rename_experiment(e, "new name")
    return {"experiment": dict(client.get_experiment(e)), "old": client.get_experiment_by_name("old name"), "taken": error(client.rename_experiment, e, "everyday")}


@step("experiments")
def found():
    for i, n in enumerate(("find a", "find b", "FIND c")):
        known(client.create_experiment(n, tags={"i": str(i), "all": "yes"}), n)
    out = {}
    for f in (
        "name = 'find a'", "name != 'find a'", "name LIKE 'find%'", "name ILIKE 'find%'", "tags.i = '1'", "tags.all = 'yes' AND tags.i != '1'", "tags.i LIKE '%2'",
        "name IN ('find a')", "tag.all = 'yes'", "creation_time > 0", "last_update_time >= 0", "nonsense = 1", "name = 'a' OR name = 'b'", "tags.all IS NULL", "name > 'a'",
    ):
        try:
            out[f] = [x.name for x in client.search_experiments(filter_string=f, order_by=["name ASC"])]
        except Exception as e:
            out[f] = error(raising, e)
    return out


def raising(e):
    raise e


@step("experiments")
def ordered_and_paged():
    names, token = [], None
    pages = []
    while True:
        page = client.search_experiments(filter_string="tags.all = 'yes'", order_by=["name DESC"], max_results=2, page_token=token)
        pages.append([x.name for x in page])
        token = page.token
        if not token:
            break
    return {
        "pages": pages,
        "by time": [x.name for x in client.search_experiments(filter_string="tags.all = 'yes'", order_by=["creation_time ASC"])],
        "standard": [x.name for x in client.search_experiments(filter_string="tags.all = 'yes'")],
        "bad": error(client.search_experiments, order_by=["tags.i"]),
        "zero": error(client.search_experiments, max_results=0),
        "many": error(client.search_experiments, max_results=50001),
        "token": error(client.search_experiments, page_token="nonsense", max_results=5),
        "raw": steps.server.post("experiments/search", max_results=1, filter="name = 'find a'"),
    }
