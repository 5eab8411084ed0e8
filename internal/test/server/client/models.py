"""Models: logged, registered, loaded."""

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModelParameter

from steps import error, known, step
import steps

client = MlflowClient()
kept = {}


def exp():
    return known(mlflow.set_experiment("models").experiment_id, "models")


def fitted():
    from sklearn.linear_model import LinearRegression

    return LinearRegression().fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0])


def plain(e):
    """An entity as a document."""
    return {k: v for k, v in dict(e).items() if k not in ("_tags", "deployment_job_state")}


# --- logged models


@step("models")
def logged_and_loaded():
    exp()
    with mlflow.start_run(run_name="linear") as r:
        info = mlflow.sklearn.log_model(fitted(), name="line", pip_requirements=["scikit-learn"], params={"k": 1}, serialization_format="cloudpickle", input_example=None)
        mlflow.log_metric("rmse", 0.5, model_id=info.model_id)
    kept["run"], kept["model"] = r.info.run_id, info.model_id
    loaded = mlflow.sklearn.load_model(info.model_uri)
    run = client.get_run(r.info.run_id)
    return {"predicted": loaded.predict([[3.0]]).tolist(), "outputs": [m.model_id == info.model_id for m in run.outputs.model_outputs], "uri": info.model_uri, "files": sorted(a.path for a in client.list_logged_model_artifacts(info.model_id))}


@step("models")
def loaded_by_the_run():
    uri = "runs:/%s/line" % kept["run"]
    return {"predicted": mlflow.pyfunc.load_model(uri).predict([[4.0]]).tolist(), "listed": sorted(f.path for f in client.list_artifacts(kept["run"], "line"))}


@step("models")
def the_logged_model():
    m = client.get_logged_model(kept["model"])
    d = m.to_dictionary()
    d["tags"] = sorted(k for k in d["tags"] if not k.startswith("mlflow.source.git"))
    d["metrics"] = [{k: v for k, v in dict(x).items() if k != "timestamp"} for x in (d.get("metrics") or [])]
    return d


@step("models")
def pending_then_ready():
    e = exp()
    m = client.create_logged_model(e, name="pending", params={"a": "1"}, tags={"t": "1"}, model_type="x")
    before = str(m.status)
    client.log_model_params(m.model_id, {"b": "2"})
    client.set_logged_model_tags(m.model_id, {"u": "2", "t": "3"})
    client.delete_logged_model_tag(m.model_id, "u")
    f = client.finalize_logged_model(m.model_id, "READY")
    got = client.get_logged_model(m.model_id)
    raw = steps.server.get("logged-models/" + m.model_id)
    client.delete_logged_model(m.model_id)
    return {"before": before, "after": str(f.status), "params": got.params, "tags": {k: v for k, v in got.tags.items() if not k.startswith("mlflow.")}, "raw": raw, "deleted": error(client.get_logged_model, m.model_id), "again": error(client.delete_logged_model, m.model_id)}


@step("models")
def external():
    exp()
    m = mlflow.create_external_model(name="external", model_type="agent", params={"a": "b"})
    return {"status": str(m.status), "type": m.model_type, "tags": m.tags.get("mlflow.model.isExternal")}


@step("models")
def searched_logged_models():
    e = exp()
    for i in range(3):
        m = client.create_logged_model(e, name="many%d" % i, params={"i": str(i)}, tags={"set": "many"})
        if i == 1:
            client.finalize_logged_model(m.model_id, "FAILED")
    ask = lambda f=None, **o: error(lambda: [m.name for m in client.search_logged_models([e], filter_string=f, **o)])
    up = [{"field_name": "creation_timestamp", "ascending": True}]
    return {
        "name": ask("name = 'many1'"), "like": ask("name LIKE 'many%'", order_by=up), "tag": ask("tags.`set` = 'many'", order_by=up), "param": ask("params.i = '2'"), "status": ask("status = 'FAILED'"),
        "run": ask("source_run_id = '%s'" % kept["run"]), "metric": ask("metrics.rmse < 1"), "none": ask("metrics.rmse > 1"), "bad": ask("nonsense = 1"), "or": ask("name = 'a' OR name = 'b'"),
        "max": ask("name LIKE 'many%'", max_results=1, order_by=[{"field_name": "creation_timestamp", "ascending": False}]), "order": ask("name LIKE 'many%'", order_by=[{"field_name": "name", "ascending": False}]),
        "raw none": steps.server.post("logged-models/search", experiment_ids=[e], filter="name = 'no'"), "unknown": steps.server.post("logged-models/search", experiment_ids=["98765"]),
    }


@step("models")
def unknown_logged_models():
    m = "m-" + "0" * 32
    return {
        "get": error(client.get_logged_model, m), "tags": error(client.set_logged_model_tags, m, {"a": "b"}), "finalize": error(client.finalize_logged_model, m, "READY"),
        "delete": error(client.delete_logged_model, m), "experiment": error(client.create_logged_model, "987654"), "raw": steps.server.get("logged-models/" + m), "name": error(client.create_logged_model, exp(), name="a/b"),
        "params": error(client.log_model_params, m, {"a": "b"}), "list": error(client.list_logged_model_artifacts, m),
    }


# --- registry


@step("registry")
def registered_and_loaded():
    e = exp()
    with mlflow.start_run(run_name="registered"):
        info = mlflow.sklearn.log_model(fitted(), name="line", pip_requirements=["scikit-learn"], registered_model_name="Line", serialization_format="cloudpickle")
    client.set_registered_model_alias("Line", "champion", 1)
    v = client.get_model_version("Line", "1")
    return {
        "version": plain(v), "experiment": bool(e), "model": v.model_id == info.model_id,
        "by alias": mlflow.pyfunc.load_model("models:/Line@champion").predict([[5.0]]).tolist(), "by version": mlflow.sklearn.load_model("models:/Line/1").predict([[5.0]]).tolist(),
        "latest": mlflow.sklearn.load_model("models:/Line/latest").predict([[5.0]]).tolist(),
    }


@step("registry")
def register_model():
    v = mlflow.register_model("runs:/%s/line" % kept["run"], "Line", tags={"a": "b"})
    return plain(v)


@step("registry")
def created():
    m = client.create_registered_model("Made", tags={"a": "1"}, description="what it is")
    return {"model": plain(m), "twice": error(client.create_registered_model, "Made"), "raw": steps.server.get("registered-models/get", name="Made"), "empty": error(client.create_registered_model, ""), "slash": error(client.create_registered_model, "a/b"), "colon": error(client.create_registered_model, "a:b"), "dot": error(client.create_registered_model, ".")}


@step("registry")
def versions():
    out = []
    for i in range(3):
        v = client.create_model_version("Made", "runs:/%s/line" % kept["run"], run_id=kept["run"], tags={"i": i}, description="number %d" % i)
        out.append(plain(v))
    client.update_model_version("Made", 2, "changed")
    client.set_model_version_tag("Made", 2, "x", "y")
    client.delete_model_version_tag("Made", 2, "i")
    client.delete_model_version("Made", 1)
    after = client.create_model_version("Made", "runs:/%s/line" % kept["run"], run_id=kept["run"])
    return {"made": out, "two": plain(client.get_model_version("Made", 2)), "one": error(client.get_model_version, "Made", 1), "next": after.version, "uri": client.get_model_version_download_uri("Made", 2), "raw": steps.server.get("model-versions/get", name="Made", version="2"), "letters": error(client.get_model_version, "Made", "two")}


@step("registry")
def aliases():
    client.set_registered_model_alias("Made", "best", 2)
    client.set_registered_model_alias("Made", "also", 2)
    one = plain(client.get_registered_model("Made"))
    client.set_registered_model_alias("Made", "best", 3)
    moved = client.get_model_version_by_alias("Made", "best").version
    client.delete_registered_model_alias("Made", "best")
    return {
        "model": one, "moved": moved, "version": plain(client.get_model_version("Made", 2)), "gone": error(client.get_model_version_by_alias, "Made", "best"), "delete none": error(client.delete_registered_model_alias, "Made", "none"),
        "no version": error(client.set_registered_model_alias, "Made", "x", 99), "latest": error(client.set_registered_model_alias, "Made", "latest", 2), "like a version": error(client.set_registered_model_alias, "Made", "v2", 2),
        "empty": error(client.set_registered_model_alias, "Made", "", 2), "no model": error(client.set_registered_model_alias, "None", "x", 1),
    }


@step("registry")
def stages():
    client.transition_model_version_stage("Made", 2, "Staging")
    client.transition_model_version_stage("Made", 3, "Staging")
    before = [[v.version, v.current_stage] for v in client.get_latest_versions("Made")]
    client.transition_model_version_stage("Made", 4, "staging", archive_existing_versions=True)
    return {
        "before": before, "latest": [[v.version, v.current_stage] for v in client.get_latest_versions("Made")], "of a stage": [v.version for v in client.get_latest_versions("Made", ["Staging"])],
        "all": sorted([v.version, v.current_stage] for v in client.search_model_versions("name = 'Made'")), "bad": error(client.transition_model_version_stage, "Made", 2, "Nonsense"), "none": error(client.get_latest_versions, "None"),
    }


@step("registry")
def searched_versions():
    ask = lambda f="", **o: error(lambda: [[v.name, v.version] for v in client.search_model_versions(f, **o)])
    return {
        "name": ask("name = 'Made'"), "run": ask("run_id = '%s'" % kept["run"]), "runs": ask("run_id IN ('%s')" % kept["run"]), "tag": ask("tags.x = 'y'"), "like": ask("name LIKE 'Ma%'"), "number": ask("version_number > 2"),
        "ordered": ask("name = 'Made'", order_by=["version_number ASC"]), "paged": ask("name = 'Made'", max_results=2), "bad": ask("nonsense = 'x'"), "or": ask("name = 'a' OR name = 'b'"), "all": ask(), "many": ask(max_results=200001), "source": ask("source_path = 'x'"),
    }


@step("registry")
def searched_models():
    for n in ("Find A", "Find B", "find c"):
        client.create_registered_model(n, tags={"set": "find", "n": n[-1]})
    ask = lambda f=None, **o: error(lambda: [m.name for m in client.search_registered_models(f, **o)])
    return {
        "name": ask("name = 'Find A'"), "like": ask("name LIKE 'Find%'"), "ilike": ask("name ILIKE 'find%'"), "tag": ask("tags.n = 'B'"), "tags": ask("tags.`set` = 'find' AND tags.n != 'A'"), "desc": ask("name ILIKE 'find%'", order_by=["name DESC"]),
        "time": ask("name ILIKE 'find%'", order_by=["last_updated_timestamp ASC", "name"]), "max": ask(max_results=2), "all": ask(), "bad": ask("nonsense = 'x'"), "order": ask(order_by=["nonsense"]), "zero": ask(max_results=0), "many": ask(max_results=1001), "raw": steps.server.get("registered-models/search", filter="name = 'Find A'"),
    }


@step("registry")
def changed_models():
    client.set_registered_model_tag("Find A", "x", "1")
    client.set_registered_model_tag("Find A", "n", "other")
    client.delete_registered_model_tag("Find A", "set")
    client.update_registered_model("Find A", "described")
    renamed = client.rename_registered_model("Find B", "Found B")
    return {
        "model": plain(client.get_registered_model("Find A")), "returned": renamed is None, "renamed": plain(client.get_registered_model("Found B")), "old": error(client.get_registered_model, "Find B"), "taken": error(client.rename_registered_model, "Found B", "Find A"),
        "no tag": error(client.delete_registered_model_tag, "Find A", "none"), "none": error(client.update_registered_model, "None", "x"), "version tag": error(client.set_model_version_tag, "None", "1", "a", "b"), "rename none": error(client.rename_registered_model, "None", "x"),
    }


@step("registry")
def deleted_models():
    client.delete_registered_model("Found B")
    client.delete_registered_model("Made")
    return {"gone": error(client.get_registered_model, "Made"), "version": error(client.get_model_version, "Made", 2), "again": error(client.delete_registered_model, "Made"), "left": [v.version for v in client.search_model_versions("name = 'Made'")], "version of none": error(client.create_model_version, "Made", "runs:/%s/line" % kept["run"])}


@step("registry")
def source_without_its_run():
    client.create_registered_model("Loose")
    return error(lambda: client.create_model_version("Loose", "runs:/%s/line" % kept["run"]).version)


@step("registry")
def sources_that_are_refused():
    client.create_registered_model("Sources")
    out = {}
    for s in ("file:///etc", "/etc/passwd", "../../etc", "http://localhost:1/x", "mlflow-artifacts:/../../etc", "mlflow-artifacts:/0/%2e%2e/x", "runs:/%s/../../x" % kept["run"]):
        out[s] = "refused" if "version" not in str(steps.server.post("model-versions/create", name="Sources", source=s)["body"].get("model_version", "")) else "taken"
    return out
