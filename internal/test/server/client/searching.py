"""Search of runs: the filters, the orders, the pages."""

import mlflow
from mlflow import MlflowClient
from mlflow.data.meta_dataset import MetaDataset  # noqa: F401
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType

from steps import error, known, step
import steps

client = MlflowClient()
ids = {}


@step("search")
def lab():
    """Seven runs whose answers are known."""
    e = known(client.create_experiment("search lab"), "search lab")
    other = known(client.create_experiment("another lab"), "another lab")
    for i in range(6):
        tags = {"mlflow.user": "user%d" % (i % 2), "parity": "odd" if i % 2 else "even", "mlflow.parentRunId": "p%d" % (i // 3)}
        if i == 0:
            tags["with space"] = "x"
        r = client.create_run(e, start_time=1_000_000 + i * 1000, tags=tags, run_name="Run-%d" % i).info.run_id
        ids["Run-%d" % i] = r
        metrics = [Metric("loss", 1 / (i + 1), 10, 0), Metric("loss", i / 4, 20, 1)]
        if i % 3 == 0:
            metrics.append(Metric("rare metric", i, 10, 0))
        params = [Param("lr", "0.%d" % i), Param("model", "GBM" if i < 3 else "linear_model")]
        if i < 2:
            params.append(Param("opt.name", "adam"))
        client.log_batch(r, metrics, params)
        client.log_inputs(r, [DatasetInput(Dataset("prices%d" % (i % 2), "digest%d" % i, "local", "{}", None, None), [InputTag("mlflow.data.context", "train" if i < 3 else "test")])])
        if i < 4:
            client.set_terminated(r, ("FINISHED", "FAILED", "KILLED", "FINISHED")[i], end_time=2_000_000 + i * 1000)
    ids["Other"] = client.create_run(other, start_time=999, run_name="Other").info.run_id
    return {"runs": len(ids), "one": [r.to_dictionary() for r in client.search_runs([e], "attributes.run_name = 'Run-0'")]}


def exp(name="search lab"):
    return client.get_experiment_by_name(name).experiment_id


FILTERS = [
    "metrics.loss = 0.5", "metrics.loss != 0.5", "metrics.loss > 0.5", "metric.loss >= 0.5", "metrics.loss < 0.5", "metrics.loss <= 5e-1", "metrics.`rare metric` >= 0",
    'metrics."rare metric" > 1', "metrics.loss > -1 AND metrics.loss < 1", "metrics.none > 0", "metrics.loss > '0.5'",
    "params.model = 'GBM'", "params.model != 'GBM'", "param.model LIKE 'lin%'", "params.model ILIKE 'gbm'", "params.model LIKE 'linear_model'", "params.model LIKE 'gbm'", "params.`opt.name` = 'adam'",
    "params.opt.name = 'adam'", "params.lr = '0.1'", 'params.lr = "0.1"', "params.lr = 0.1", "params.lr > '0.1'", "params.none != 'x'", "parameters.model = 'GBM'",
    "params.`opt.name` IS NULL", "params.`opt.name` IS NOT NULL", "tags.parity = 'odd'", "tag.parity != 'odd'", "tags.parity LIKE 'e%'", "tags.parity ILIKE 'E%'", "tags.`with space` = 'x'",
    "tags.`with space` IS NULL", "tags.\"with space\" IS NOT NULL", "tags.mlflow.parentRunId = 'p1'", "tags.parity = odd", "metrics.loss IS NULL", "metrics.loss LIKE '0%'",
    "attributes.status = 'FINISHED'", "status = 'RUNNING'", "attributes.status != 'FINISHED'", "attribute.status = 'finished'", "status LIKE 'FIN%'", "status IN ('FINISHED')",
    "attributes.run_name = 'Run-1'", "run_name LIKE 'Run-%'", "attributes.`run name` = 'Run-1'", "attributes.run_name ILIKE 'run-2'", "run_name != 'Run-1'", "attributes.user_id = 'user1'", "user_id LIKE 'user%'",
    "start_time > 1002000", "attributes.start_time <= 1002000", "attributes.end_time = 2001000", "end_time > 0", "created > 1003000", "attributes.start_time > '1002000'", "start_time != 1002000",
    "artifact_uri LIKE 'mlflow-artifacts:%'", "attributes.lifecycle_stage = 'active'", "attributes.experiment_id = '1'", "attributes.nonsense = 'x'", "nonsense.a = 'x'",
    "run_id = 'RUN1'", "attributes.run_id IN ('RUN1', 'RUN2')", "run_id NOT IN ('RUN1')", "run_id != 'RUN1'", "run_id LIKE 'x%'", "run_id IN ()",
    "datasets.name = 'prices1'", "dataset.digest = 'digest2'", "datasets.context = 'train'", "datasets.name IN ('prices0', 'x')", "datasets.name LIKE 'prices%'", "datasets.name = 'prices1' AND datasets.context = 'test'",
    "datasets.source = 'x'", "params.model = 'GBM' AND tags.parity = 'even' AND metrics.loss < 0.3", "params.model = 'GBM' and tags.parity = 'even'",
    "params.model = 'GBM' OR tags.parity = 'even'", "NOT params.model = 'GBM'", "(params.model = 'GBM')", "metrics.loss BETWEEN 0 AND 1", "params.model RLIKE 'G.*'", "params.model IN ('GBM')",
    "params.model = 'GBM';", "params.model == 'GBM'", "params.model = ''", "params.model = 'it''s'", "params.model", "= 'GBM'", "params. = 'x'", "params.model = 'GBM' AND", "AND", "'GBM' = params.model",
    "", "   ", "metrics.loss > 1e", "metrics.loss > 0x10", "metrics.loss > .5", "metrics.loss > 1.", "metrics.loss > +1", "metrics.loss>0.5", "params.model='GBM'", "  params.model   =\n'GBM'  ",
    "metrics.loss = metrics.loss", "params.model = 'GBM' -- comment", "tags.parity = 'odd' AND 1 = 1", "params.`model` = 'GBM'", "`params`.`model` = 'GBM'", "params.model LIKE '%'", "params.model like 'GB_'",
    "params.model NOT LIKE 'G%'", "tags.parity = '%'", "metrics.loss > 1000000000000000000000000000000",
]


@step("search")
def filters():
    """The filter language: the runs that each filter finds, or why it is refused."""
    out, e = {}, exp()
    for f in FILTERS:
        try:
            found = client.search_runs([e], f.replace("RUN1", ids["Run-1"]).replace("RUN2", ids["Run-2"]), order_by=["start_time ASC"])
            out[f] = [r.info.run_name for r in found]
        except Exception as x:
            out[f] = error(raising, x)
    return out


def raising(e):
    raise e


ORDERS = [
    ["metrics.loss"], ["metrics.loss ASC"], ["metrics.loss DESC"], ["metrics.`rare metric` DESC"], ["metrics.`rare metric` ASC"], ["params.model ASC", "metrics.loss DESC"], ["params.lr DESC"],
    ["params.`opt.name`"], ["tags.parity", "attributes.start_time DESC"], ["attributes.end_time"], ["end_time DESC"], ["attributes.status"], ["status DESC", "start_time"], ["attributes.run_name DESC"],
    ["attribute.start_time"], ["start_time desc"], ["created"], ["run_id"], ["user_id", "start_time"], ["attributes.artifact_uri"], ["metrics.none", "start_time"], ["datasets.name"], ["metrics.loss, params.lr"],
    ["nonsense"], ["metrics.loss UP"], [""], ["metrics.loss ASC DESC"], ["attributes.nonsense"], ["tags.`with space`"], ["params.model", "params.model DESC"], [],
]


@step("search")
def orders():
    """The order of the runs that each order_by gives, or why it is refused."""
    out, e = {}, exp()
    for o in ORDERS:
        try:
            names = [r.info.run_name for r in client.search_runs([e], order_by=o)]
            out[", ".join(o) or "none"] = sorted(names) if o in (["run_id"], ["attributes.artifact_uri"]) else names
        except Exception as x:
            out[", ".join(o)] = error(raising, x)
    return out


@step("search")
def pages():
    out, token = [], None
    while True:
        page = client.search_runs([exp()], max_results=4, page_token=token, order_by=["metrics.loss DESC"])
        out.append([r.info.run_name for r in page])
        token = page.token
        if not token:
            return out


@step("search")
def limits_of_pages():
    e = exp()
    ask = lambda **d: error(lambda: len(client.search_runs([e], **d)))
    return {"0": ask(max_results=0), "-1": ask(max_results=-1), "50000": ask(max_results=50000), "50001": ask(max_results=50001), "100000": ask(max_results=100000), "token": ask(page_token="nonsense")}


@step("search")
def several_experiments():
    both = client.search_runs([exp(), exp("another lab")], order_by=["start_time"])
    return {
        "both": [r.info.run_name for r in both],
        "none": len(client.search_runs([])),
        "unknown": len(client.search_runs(["987654"])),
        "names": len(mlflow.search_runs(experiment_names=["search lab", "another lab"])),
        "letters": error(lambda: len(client.search_runs(["abc"]))),
    }


@step("search")
def as_a_table():
    t = mlflow.search_runs([exp()], "params.model = 'GBM'", order_by=["start_time"])
    return {"columns": sorted(t.columns), "loss": t["metrics.loss"].tolist(), "model": t["params.model"].tolist(), "opt": [str(v) for v in t["params.opt.name"]]}


@step("search")
def raw_answer():
    return {
        "one": steps.server.post("runs/search", experiment_ids=[exp()], filter="attributes.run_name = 'Run-1'", max_results=1),
        "none": steps.server.post("runs/search", experiment_ids=[exp()], filter="attributes.run_name = 'no'"),
        "page": list(steps.server.post("runs/search", experiment_ids=[exp()], max_results=1)["body"]),
        "no ids": steps.server.post("runs/search"),
        "view": steps.server.post("runs/search", experiment_ids=[exp()], run_view_type="NONSENSE"),
        "filter kind": steps.server.post("runs/search", experiment_ids=[exp()], filter=5),
    }


@step("search")
def deleted_ones():
    client.delete_run(ids["Run-5"])
    names = lambda v: [r.info.run_name for r in client.search_runs([exp()], "metrics.loss >= 0", run_view_type=v, order_by=["start_time"])]
    return {str(v): names(v) for v in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL)}


# --- datasets


@step("datasets")
def of_pandas():
    import pandas

    e = known(mlflow.set_experiment("datasets").experiment_id, "datasets")
    frame = pandas.DataFrame({"close": [1.0, 2.0, 3.0], "symbol": ["a", "b", "c"]})
    data = mlflow.data.from_pandas(frame, source="prices.csv", name="prices", targets="close")
    with mlflow.start_run(run_name="pandas") as r:
        mlflow.log_input(data, context="training", tags={"k": "v"})
        mlflow.log_input(data, context="validation")
    return {"run": client.get_run(r.info.run_id).to_dictionary()["inputs"], "found": [x.info.run_name for x in client.search_runs([e], "datasets.name = 'prices' AND datasets.context = 'training'")]}


@step("datasets")
def of_numpy():
    import numpy

    data = mlflow.data.from_numpy(numpy.arange(6.0).reshape(3, 2), targets=numpy.array([0, 1, 0]), name="numbers")
    with mlflow.start_run(run_name="numpy") as r:
        mlflow.log_input(data)
    inputs = client.get_run(r.info.run_id).inputs.dataset_inputs
    source = mlflow.data.get_source(inputs[0].dataset)
    return {"name": inputs[0].dataset.name, "digest": inputs[0].dataset.digest, "schema": inputs[0].dataset.schema, "profile": inputs[0].dataset.profile, "source": type(source).__name__, "tags": [dict(t) for t in inputs[0].tags]}


@step("datasets")
def the_same_twice():
    with mlflow.start_run(run_name="twice") as r:
        for _ in range(2):
            client.log_inputs(r.info.run_id, [DatasetInput(Dataset("one", "d1", "local", "{}", "s", "p"), [InputTag("mlflow.data.context", "a")])])
        client.log_inputs(r.info.run_id, [DatasetInput(Dataset("two", "d2", "local", "{}"))])
    return client.get_run(r.info.run_id).to_dictionary()["inputs"]


@step("datasets")
def refused():
    r = client.create_run(exp("datasets")).info.run_id
    good = {"name": "n", "digest": "d", "source_type": "local", "source": "{}"}
    ask = lambda dataset, **more: steps.server.post("runs/log-inputs", run_id=r, datasets=[dict(dataset=dataset, **more)])
    return {
        "good": ask(good), "no name": ask({k: v for k, v in good.items() if k != "name"}), "no digest": ask({k: v for k, v in good.items() if k != "digest"}),
        "no source": ask({k: v for k, v in good.items() if k != "source"}), "long name": ask(dict(good, name="n" * 501)), "long digest": ask(dict(good, digest="d" * 37)),
        "tags": ask(good, tags=[{"key": "k" * 256, "value": "v"}]), "empty": steps.server.post("runs/log-inputs", run_id=r, datasets=[]), "run": steps.server.post("runs/log-inputs", run_id="f" * 32, datasets=[{"dataset": good}]),
    }
