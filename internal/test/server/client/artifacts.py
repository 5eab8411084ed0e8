"""Artifacts of all kinds, up and down."""

import hashlib
import os
import tempfile

import mlflow
from mlflow import MlflowClient

from steps import error, known, step
import steps

client = MlflowClient()


def listed(run_id, path=None):
    """Every file below a path, with its size."""
    out = {}
    for f in client.list_artifacts(run_id, path):
        if f.is_dir:
            out[f.path + "/"] = None
            out.update(listed(run_id, f.path))
        else:
            out[f.path] = f.file_size
    return out


def new(name):
    e = known(mlflow.set_experiment("artifacts").experiment_id, "artifacts")
    return client.create_run(e, run_name=name).info.run_id


@step("artifacts")
def dicts():
    r = new("dicts")
    client.log_dict(r, {"a": [1, 2.5, None], "b": "한국"}, "conf/data.json")
    client.log_dict(r, {"a": 1}, "data.yaml")
    uri = client.get_run(r).info.artifact_uri
    return {"files": listed(r), "json": mlflow.artifacts.load_dict(uri + "/conf/data.json"), "yaml": mlflow.artifacts.load_text(uri + "/data.yaml")}


@step("artifacts")
def text():
    r = new("text")
    client.log_text(r, "one\ntwo\n", "notes/a.txt")
    client.log_text(r, "<html><script>1</script></html>", "page.html")
    client.log_text(r, "", "empty.txt")
    uri = client.get_run(r).info.artifact_uri
    return {"files": listed(r), "text": mlflow.artifacts.load_text(uri + "/notes/a.txt"), "html": mlflow.artifacts.load_text(uri + "/page.html"), "empty": mlflow.artifacts.load_text(uri + "/empty.txt")}


@step("artifacts")
def figure():
    from matplotlib.figure import Figure

    r = new("figure")
    f = Figure()
    f.subplots().plot([1, 2, 3])
    client.log_figure(r, f, "plots/line.png")
    client.log_figure(r, f, "plots/line.svg")
    image = mlflow.artifacts.load_image(client.get_run(r).info.artifact_uri + "/plots/line.png")
    return {"files": sorted(listed(r)), "size": list(image.size), "format": image.format}


@step("artifacts")
def image():
    import numpy
    from PIL import Image

    r = new("image")
    client.log_image(r, numpy.zeros((4, 6, 3), dtype=numpy.uint8), "black.png")
    client.log_image(r, Image.new("RGB", (5, 7)), "pil.png")
    with mlflow.start_run(run_id=r):
        mlflow.log_image(numpy.zeros((4, 6, 3), dtype=numpy.uint8), key="dogs", step=3)
    kinds = sorted(p.split("%")[0].split("/")[0] + os.path.splitext(p)[1] for p in listed(r))
    return {"files": kinds, "size": list(mlflow.artifacts.load_image(client.get_run(r).info.artifact_uri + "/pil.png").size), "tags": client.get_run(r).data.tags.get("mlflow.loggedImages")}


@step("artifacts")
def table():
    r = new("table")
    client.log_table(r, {"a": [1, 2], "b": ["x", "y"]}, "t.json")
    client.log_table(r, {"a": [3], "b": ["z"]}, "t.json")
    t = client.load_table(known_id("artifacts"), "t.json", run_ids=[r])
    return {"files": listed(r), "a": t["a"].tolist(), "b": t["b"].tolist(), "tag": client.get_run(r).data.tags["mlflow.loggedArtifacts"]}


def known_id(name):
    return client.get_experiment_by_name(name).experiment_id


def tree():
    d = tempfile.mkdtemp()
    for name, content in (("a.txt", b"a"), ("sub/b.bin", bytes(range(256))), ("sub/deep/er/c", b"c" * 1000), ("with space é.txt", b"x"), ("100%.txt", b"p"), ("q?&#.txt", b"q"), (".hidden", b"h")):
        os.makedirs(os.path.dirname(os.path.join(d, name)), exist_ok=True)
        with open(os.path.join(d, name), "wb") as f:
            f.write(content)
    return d


@step("artifacts")
def folder():
    r = new("folder")
    client.log_artifacts(r, tree())
    client.log_artifacts(r, tree(), "below/here")
    return {
        "files": listed(r),
        "top": [[f.path, f.is_dir, f.file_size] for f in client.list_artifacts(r)],
        "sub": [[f.path, f.is_dir, f.file_size] for f in client.list_artifacts(r, "sub")],
    }


@step("artifacts")
def downloaded_folder():
    r = new("downloaded")
    client.log_artifacts(r, tree())
    d = client.download_artifacts(r, "", tempfile.mkdtemp())
    got = {}
    for root, _, names in os.walk(d):
        for n in names:
            with open(os.path.join(root, n), "rb") as f:
                got[os.path.relpath(os.path.join(root, n), d)] = hashlib.md5(f.read()).hexdigest()[:8]
    return got


@step("artifacts")
def single_file():
    r = new("file")
    path = os.path.join(tree(), "sub/b.bin")
    client.log_artifact(r, path)
    client.log_artifact(r, path, "dir")
    got = client.download_artifacts(r, "dir/b.bin", tempfile.mkdtemp())
    with open(got, "rb") as f:
        same = f.read() == bytes(range(256))
    return {"files": listed(r), "same": same}


@step("artifacts")
def overwritten():
    r = new("overwritten")
    client.log_text(r, "first, and longer", "a.txt")
    client.log_text(r, "second", "a.txt")
    return {"files": listed(r), "text": mlflow.artifacts.load_text(client.get_run(r).info.artifact_uri + "/a.txt")}


@step("artifacts")
def twelve_mebibytes():
    r = new("large")
    block = bytes(range(256)) * 4096  # 1 MiB
    path = os.path.join(tempfile.mkdtemp(), "large.bin")
    with open(path, "wb") as f:
        for i in range(12):
            f.write(bytes([i]) + block[1:])
    client.log_artifact(r, path)
    got = client.download_artifacts(r, "large.bin", tempfile.mkdtemp())
    digest = lambda p: hashlib.sha256(open(p, "rb").read()).hexdigest()
    return {"files": listed(r), "same": digest(got) == digest(path)}


@step("artifacts")
def what_is_not_there():
    r = new("nothing")
    return {
        "list": listed(r),
        "list of none": [f.path for f in client.list_artifacts(r, "no/such")],
        "download": {k: v for k, v in error(client.download_artifacts, r, "no.txt", tempfile.mkdtemp()).items() if k != "message"},
        "run": error(client.list_artifacts, "f" * 32),
    }


def path(run_id, name):
    return "/api/2.0/mlflow-artifacts/artifacts/%s/%s/artifacts/%s" % (known_id("artifacts"), run_id, name)


@step("artifacts")
def raw_requests():
    r = new("raw")
    ask = steps.server.ask
    put = ask("PUT", path(r, "a/b.txt"), data=b"bytes")
    client.log_text(r, "x", "c.json")
    got = steps.server.session.get(steps.server.uri + path(r, "a/b.txt"), timeout=60)
    text = steps.server.session.get(steps.server.uri + path(r, "c.json"), timeout=60)
    base = "%s/%s/artifacts" % (known_id("artifacts"), r)
    out = {
        "put": put,
        "get": [got.status_code, got.text, got.headers.get("Content-Type"), got.headers.get("X-Content-Type-Options"), got.headers.get("Content-Disposition")],
        "json": [text.status_code, text.headers.get("Content-Type")],
        "list": ask("GET", "/api/2.0/mlflow-artifacts/artifacts", params={"path": base}),
        "list sub": ask("GET", "/api/2.0/mlflow-artifacts/artifacts", params={"path": base + "/a"}),
        "mlflow list": steps.server.get("artifacts/list", run_id=r),
        "mlflow list sub": steps.server.get("artifacts/list", run_id=r, path="a"),
        "missing": ask("GET", path(r, "no.txt"))["status"],
        "delete": ask("DELETE", path(r, "a/b.txt")),
    }
    out["after"] = listed(r)
    return out


@step("artifacts")
def paths_that_leave():
    r = new("leaving")
    out = {}
    for p in ("..%2f..%2fx", "%2e%2e/%2e%2e/x", "a/..%2f..%2f..%2f..%2f..%2fetc/passwd", "%2fetc%2fpasswd", "a%5c..%5c..%5cx", "a%00b", "file:%2f%2f%2fetc/passwd"):
        for method in ("GET", "PUT"):
            out[method + " " + p] = steps.server.ask(method, path(r, p), data=b"x")["status"] >= 400
    for p in ("../..", "..", "/etc", "a/../../..", "file:///etc"):
        out["list " + p] = steps.server.get("artifacts/list", run_id=r, path=p)
    return out
