"""An everyday program of MLflow's client: python client --uri http://HOST:PORT [GROUP...]"""

import argparse
import logging
import os
import sys
import tempfile
import warnings

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--uri", help="address of the server; MLFLOW_TRACKING_URI if not given")
parser.add_argument("--out", help="file for the documents; stdout if not given")
parser.add_argument("groups", nargs="*")
args = parser.parse_args()
args.uri = args.uri or os.environ["MLFLOW_TRACKING_URI"]

os.environ.update(
    MLFLOW_TRACKING_URI=args.uri,
    MLFLOW_DISABLE_TELEMETRY="true",
    MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",  # a fault shows itself at once
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false",
    MLFLOW_LOCK_MODEL_DEPENDENCIES="false",
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true",
    MPLBACKEND="agg",
    GIT_PYTHON_REFRESH="quiet",
)
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
out = open(args.out, "w") if args.out else os.fdopen(os.dup(1), "w")
# The client logs to stdout in places.
sys.stdout = sys.stderr
os.chdir(tempfile.mkdtemp(prefix="client-"))
warnings.filterwarnings("ignore")

import mlflow  # noqa: E402

logging.getLogger("mlflow").setLevel(logging.ERROR)
logging.getLogger("alembic").setLevel(logging.ERROR)
mlflow.set_registry_uri(args.uri)

import steps  # noqa: E402
import tracking, searching, artifacts, autologging, models, edges  # noqa: E402, E401, F401

steps.run(args.uri, args.groups, out)
