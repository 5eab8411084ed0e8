"""Makes a small store of MLflow, in files or in SQLite: python store.py URI.

Run it in the folder that the store shall stand in, with the package mlflow
installed; origin.txt says with which version the goldens here were made."""

import math
import os
import sys
import time

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import mlflow
from mlflow import MlflowClient

uri = sys.argv[1]
mlflow.set_tracking_uri(uri)
client = MlflowClient(uri)
old = mlflow.__version__.split(".")[0] == "1"

DESCRIPTION = 'Ranks: every month, "best" first.\n\n- a line that is long enough to be wrapped by whoever writes it down, and \uac00\ub098\ub2e4 too\n'

alpha = client.create_experiment("alpha")
client.set_experiment_tag(alpha, "mlflow.note.content", "momentum, daily")
client.set_experiment_tag(alpha, "team", "Zürich")
gone = client.create_experiment("gone")


def begin(experiment, at, name, tags=None):
    return client.create_run(experiment, start_time=at, tags={
        "mlflow.runName": name, "mlflow.user": "ada", "mlflow.source.name": "train.py",
        "mlflow.source.type": "LOCAL", "mlflow.source.git.commit": "0123456789abcdef0123456789abcdef01234567", **(tags or {})})


first = begin(alpha, 1700000000123, "first")
rid = first.info.run_id
for i in range(5):
    client.log_metric(rid, "loss", 1.0 / (i + 1), timestamp=1700000001000 + i, step=i)
client.log_metric(rid, "loss", 0.125, timestamp=1700000001004, step=4)
client.log_metric(rid, "loss", 7.5, timestamp=1700000009000, step=-3)
client.log_metric(rid, "bad", math.nan, timestamp=1700000002000, step=1)
client.log_metric(rid, "bad", math.inf, timestamp=1700000002000, step=2)
client.log_metric(rid, "bad", -math.inf, timestamp=1700000002000, step=3)
client.log_metric(rid, "val/auc", 0.75, timestamp=1700000002000, step=0)
client.log_param(rid, "lr", "1e-3")
client.log_param(rid, "opt/name", "adam")
client.log_param(rid, "empty", "") if not old else None
client.log_param(rid, "long", "가" * 100)
client.set_tag(rid, "stage", "dev")
client.set_tag(rid, "multi", "a line\nanother: {b}")
client.log_text(rid, "hello\n", "notes/a.txt")
client.log_dict(rid, {"a": [1, 2]}, "b.json")
if hasattr(client, "log_inputs"):
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = Dataset(name="bars", digest="abc123", source_type="local", source='{"uri": "bars.csv"}', schema='{"mlflow_colspec": []}', profile='{"rows": 10}')
    client.log_inputs(rid, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
if hasattr(client, "log_inputs"):
    odd = Dataset(name="odd: 'names' # 1e3", digest="0123", source_type="code", source="line one\n  line two\n\nlast: \u2603 \U0001f600 " + "long words " * 30, schema=None, profile="~")
    client.log_inputs(rid, [DatasetInput(odd, [InputTag("mlflow.data.context", "1e3"), InputTag("on", "yes")])])
client.set_terminated(rid, "FINISHED", 1700000010456)

child = begin(alpha, 1700000100000, "child", {"mlflow.parentRunId": rid})
client.log_metric(child.info.run_id, "loss", 2, timestamp=1700000100001, step=0)
client.set_terminated(child.info.run_id, "FAILED", 1700000101000)

killed = begin(alpha, 1700000200000, "killed")
client.set_terminated(killed.info.run_id, "KILLED", 1700000201000)

running = begin(alpha, 1700000300000, "running")
client.log_metric(running.info.run_id, "loss", 3, timestamp=1700000300500, step=0)

deleted = begin(alpha, 1700000400000, "deleted")
client.set_terminated(deleted.info.run_id, "FINISHED", 1700000401000)
client.delete_run(deleted.info.run_id)

default = begin("0", 1700000500000, "in default")
client.set_terminated(default.info.run_id, "FINISHED", 1700000501000)

lost = begin(gone, 1700000600000, "of a deleted experiment")
client.set_terminated(lost.info.run_id, "FINISHED", 1700000601000)
client.delete_experiment(gone)

try:
    client.create_registered_model("momentum", tags={"owner": "ada"}, description=DESCRIPTION)
    v = client.create_model_version("momentum", f"{first.info.artifact_uri}/notes", run_id=rid, tags={"k": "v"}, description="the first")
    client.create_model_version("momentum", "s3://bucket/elsewhere")
    if hasattr(client, "set_registered_model_alias"):
        client.set_registered_model_alias("momentum", "champion", "1")
    if hasattr(client, "transition_model_version_stage"):
        client.transition_model_version_stage("momentum", "2", "Production")
    client.create_registered_model("empty")
except Exception as e:
    print("no registry:", type(e).__name__, str(e)[:100])

if hasattr(client, "create_logged_model"):
    from mlflow.entities import LoggedModelParameter, LoggedModelStatus
    m = client.create_logged_model(alpha, name="net", source_run_id=rid, tags={"t": "1"}, params={"depth": "3"}, model_type="tiny")
    path = m.artifact_location.replace("file://", "")
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, "MLmodel"), "w") as out:
        out.write("flavors: {}\n")
    client.log_metric(rid, "acc", 0.5, timestamp=1700000003000, step=0, model_id=m.model_id)
    client.finalize_logged_model(m.model_id, LoggedModelStatus.READY)
    from mlflow.entities import LoggedModelOutput
    client.log_outputs(rid, [LoggedModelOutput(m.model_id, 0)])
print(mlflow.__version__, uri)
