"""Command line of the serving image: `python -m include.jobs.serving --model-name … --model-uri …`."""

import argparse
import gc
import logging
import os
import sys
import time

from include.jobs.lake.command_line import Parser
from include.jobs.lake.errors import run_main

# Before NumPy is imported: a household's few rows are no work for more threads than one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_log = logging.getLogger("include.jobs.serving")


def main() -> None:
    """Load the model, then serve it until SIGTERM; nothing listens before the model is in memory."""
    parser = Parser(prog="python -m include.jobs.serving", description=__doc__)
    parser.add_argument("--model-name", default="recommender", help="as in /v1/models/<name>:predict")
    parser.add_argument(
        "--model-uri", required=True, help="models:/<name>/<version>, models:/<name>@<alias>, or a folder"
    )
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--host", default=os.environ.get("POD_IP") or "0.0.0.0", help="default: $POD_IP, else all")
    parser.add_argument("--grace-period", type=int, default=30, help="seconds for open requests after SIGTERM")
    parser.add_argument(
        "--erasures-s", type=float, default=15.0, help="seconds between two looks for households that were erased"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    _serve(arguments)


def _serve(arguments: argparse.Namespace) -> None:
    started = time.monotonic()
    from include.jobs.ranking.registry import Registry, load_uri
    from include.jobs.serving.door import serving_key
    from include.jobs.serving.forgetting import Forgetting
    from include.jobs.serving.server import PodServer, RankerService, version_of

    key = serving_key()
    uri: str = arguments.model_uri
    registry = None
    if uri.startswith("models:/"):
        name, _, alias = uri.removeprefix("models:/").partition("@")
        registry = Registry.connect(name.partition("/")[0])
        if alias:
            # Replies name the version that was served, whatever the alias names later.
            uri = f"models:/{name}/{registry.version(f'@{alias}').version}"
    # Asked before the files are read: an erasure in between is seen at the first look.
    erased_at = registry.erased_at(version_of(uri)) if registry else ""
    model = load_uri(uri)
    _log.info(
        "serve %s (%s, %d households, feature view %s) on %s:%d after %.1f s",
        *(uri, model.name, len(model.candidates.household_id), model.feature_view, arguments.host, arguments.port),
        time.monotonic() - started,
    )
    # What is loaded stays: the collector need not walk through it during requests.
    gc.collect()
    gc.freeze()
    server = PodServer(arguments.host, arguments.port, arguments.grace_period, key, arguments.model_name)
    service = RankerService(arguments.model_name, model, version_of(uri))
    # The server keeps no reference to what it no longer serves.
    del model
    if registry:
        Forgetting(registry, version_of(uri), erased_at, service.take, arguments.erasures_s)
    server.start([service])


if __name__ == "__main__":
    run_main(main)
