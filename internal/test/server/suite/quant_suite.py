"""A plugin of pytest that points MLflow's own HTTP tests at quant serve.

    PYTHONPATH=CHECKOUT:THIS_FOLDER QUANT=bin/quant python -m pytest -p quant_suite \
        CHECKOUT/tests/tracking/test_rest_tracking.py ...

CHECKOUT holds MLflow's tests at release 3.6 and is left as it is: what starts a
server there is replaced when the tests have been collected. Tests of what quant
answers as not implemented are left out (OUTSIDE), and those that run the same
against a store of files, which is MLflow's matter alone. Without QUANT the tests
meet MLflow's own server.
"""

import os
import re
import subprocess
import tempfile

from mlflow.utils import workspace_context

# The name that the tests know this function of newer releases by.
if not hasattr(workspace_context, "clear_workspace"):
    workspace_context.clear_workspace = workspace_context.clear_server_request_workspace

# Workspaces, evaluation datasets, GraphQL, traces, scorers, the gateway, prompt
# labs; and what calls handlers in MLflow's own process or its command line.
OUTSIDE = re.compile(
    r"workspace|graphql|trace|scorer|gateway|promptlab|evaluation_dataset|assessments|"
    r"(add|remove)_(dataset|experiments|multiple_experiments)|dataset_experiment_association|idempotent_(add|remove)|client_api_add_remove|"
    r"test_mlflow_artifacts_example|calls_optimized_impl|validation_regex|online_scor|otel|webhook"
)


class Quant:
    """quant serve on a lab of its own, as what it replaces: a context that is a URL."""

    def __init__(self, *_, **__):
        self.folder = tempfile.TemporaryDirectory(prefix="quant-suite-")

    def __enter__(self):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        subprocess.run([os.environ["QUANT"], "init-db"], cwd=self.folder.name, env=environment, check=True, capture_output=True)
        self.process = subprocess.Popen([os.environ["QUANT"], "serve", "--addr", "127.0.0.1:0"], cwd=self.folder.name, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        for line in self.process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                break
        else:
            raise RuntimeError("quant serve says no address")
        # What it says next must not fill the pipe.
        subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=open(os.path.join(self.folder.name, "log"), "w"))
        self.url = found[0]
        return self.url

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)
        self.folder.cleanup()

    def kill(self):
        self.__exit__()


def pytest_collection_modifyitems(config, items):
    outside = [i for i in items if OUTSIDE.search(i.name) or re.search(r"\[file[-\]]|-file\]", i.name)]
    config.hook.pytest_deselected(items=outside)
    items[:] = [i for i in items if i not in outside]
    if "QUANT" not in os.environ:
        return
    for module in {i.module for i in items}:
        if hasattr(module, "ServerThread"):
            module.ServerThread = Quant
        if hasattr(module, "_launch_server"):
            replace_launch(module)


def replace_launch(module):
    """The artifact tests start a process at a port that they chose; quant chooses
    its own, and the record of the server is given that."""
    server = module.ArtifactsServer

    def launch(*_):
        quant = Quant()
        quant.__enter__()
        return quant

    def made(backend_store_uri, default_artifact_root, artifacts_destination, url, process):
        return server(process.url, process.url + "/api/2.0/mlflow-artifacts/artifacts", os.path.join(process.folder.name, "data", "artifacts"), process.url, process)

    module._launch_server, module.ArtifactsServer = launch, made
