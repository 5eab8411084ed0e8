"""Steps of a client program, and what they print.

A step is a function of a group. It returns what the client was given, as a
document that two servers can be compared by: ids, times, host paths and
addresses are replaced by stable names, everything else is kept as it is.
"""

import json
import math
import re
import sys
import time
import traceback

import requests
from mlflow.exceptions import MlflowException

_steps = []


def step(group):
    """Makes the function a step of the group, in the order of the source."""

    def add(function):
        _steps.append((group, function.__name__, function))
        return function

    return add


class Server:
    """The server that is asked, past the client: one request, one answer."""

    def __init__(self, uri):
        self.uri = uri
        self.session = requests.Session()

    def ask(self, method, path, **options):
        """Status and JSON document of an answer; its text where it is none."""
        r = self.session.request(method, self.uri + path, timeout=60, **options)
        try:
            body = r.json()
        except ValueError:
            body = r.text
        if isinstance(body, dict) and "error_code" in body:
            body = {k: body[k] for k in ("error_code", "message") if k in body}
        return {"status": r.status_code, "body": body}

    def get(self, endpoint, /, **params):
        return self.ask("GET", "/api/2.0/mlflow/" + endpoint, params=params)

    def post(self, endpoint, /, **document):
        return self.ask("POST", "/api/2.0/mlflow/" + endpoint, json=document)


server = None  # set by run
experiments = {"0": "Default"}  # id -> name, told by known


def known(experiment_id, name):
    """Tells what the experiment of an id is called in what is printed."""
    experiments[str(experiment_id)] = name
    return experiment_id


def error(function, *args, **kwargs):
    """The error that a call ends with, or what it returned against expectation."""
    try:
        return {"returned": function(*args, **kwargs)}
    except MlflowException as e:
        return {"error": e.error_code, "message": str(e.message)}
    except Exception as e:  # of the client itself
        return {"raised": type(e).__name__, "message": str(e)}


TIMES = re.compile(r"(^|_)(time|timestamp|timestamp_ms)$|^(start|end)$")
UNKEPT = ("mlflow.source.git.commit", "mlflow.source.git.branch", "mlflow.source.git.repoURL")


class Normal:
    """Gives ids names in the order in which one document shows them."""

    def __init__(self, digits=None):
        self.names = {}
        self.digits = digits

    def name(self, kind, value):
        return self.names.setdefault(value, "<%s%d>" % (kind, 1 + sum(n.startswith("<" + kind) for n in self.names.values())))

    def text(self, s):
        s = s.replace(server.uri, "<server>")
        s = re.sub(r"\b[a-z]+-[a-z]+-\d{1,3}\b", "<run name>", s)
        s = re.sub(r"\b1[78]\d{11}\b", "<time>", s)
        s = re.sub(r"(?<=with id=)\d+\b|(?<=experiment )\d+(?= )|(?<=experiment with id )\d+\b|(?<=experiment_id=)\d+\b|(?<=Experiment )\d+(?= )", lambda m: "<%s>" % experiments[m[0]] if m[0] in experiments else m[0], s)
        s = re.sub(r"'\{('[^{}]*')\}'", lambda m: "'{%s}'" % ", ".join(sorted(m[1].split(", "))), s)  # a set of Python's
        s = re.sub(r"port=\d+", "port=<port>", s)
        s = re.sub(r"mlflow-artifacts:/(\d+)(?=/|$)", lambda m: "mlflow-artifacts:/<%s>" % experiments.get(m[1], "experiment?"), s)
        s = re.sub(r"\bm-[0-9a-f]{32}\b", lambda m: self.name("model", m[0]), s)
        s = re.sub(r"\b[0-9a-f]{32}\b", lambda m: self.name("id", m[0]), s)
        s = re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", lambda m: self.name("uuid", m[0]), s)
        return s

    def of(self, v, key=""):
        if isinstance(v, dict):
            if set(v) >= {"key", "value"}:  # as the protocol writes params, tags and metrics
                return dict({k: self.of(x, k) for k, x in v.items()}, value=self.of(v["value"], str(v["key"])))
            return {self.text(str(k)): self.of(x, str(k)) for k, x in v.items() if k not in UNKEPT}
        if isinstance(v, (list, tuple)):
            if v and all(isinstance(x, dict) and "key" in x for x in v):  # no order is promised
                v = sorted((x for x in v if x["key"] not in UNKEPT), key=lambda x: str(x["key"]))
            return [self.of(x, key) for x in v]
        if isinstance(v, bool) or v is None:
            return v
        if key.endswith("experiment_id") and str(v).isdigit():
            return "<%s>" % experiments.get(str(v), "experiment?")
        if key in ("mlflow.user", "user_id", "mlflow.source.name") and v:
            return "<%s>" % key
        if TIMES.search(key) and isinstance(v, int) and v > 10**12:
            return "<time>"
        if isinstance(v, int):
            return v
        if isinstance(v, float):
            if math.isnan(v) or math.isinf(v):
                return str(v)
            return float("%.*g" % (self.digits, v)) if self.digits else v
        if hasattr(v, "item"):  # NumPy's
            return self.of(v.item(), key)
        return self.text(str(v))


def run(uri, only, out):
    """Runs the steps of the groups (all, if there is none) and writes a line of
    JSON each: group, step, what it returned. The time of each goes to stderr."""
    global server
    server = Server(uri)
    for group, name, function in _steps:
        if only and group not in only:
            continue
        began = time.monotonic()
        try:
            result = function()
        except Exception as e:  # is a difference, and says where
            traceback.print_exc(file=sys.stderr)
            message = e.message if isinstance(e, MlflowException) else str(e)
            result = {"unexpected": type(e).__name__, "message": message}
        normal = Normal(digits=5 if group in ("autolog", "models") else None)
        print(json.dumps({"group": group, "step": name, "result": normal.of(result)}, sort_keys=True, ensure_ascii=True), file=out, flush=True)
        print("%7.2f s  %s %s" % (time.monotonic() - began, group, name), file=sys.stderr, flush=True)
