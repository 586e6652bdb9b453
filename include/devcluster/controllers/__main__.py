"""``python -m include.devcluster.controllers``: run the controllers until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

from include.devcluster.controllers.client import Credentials, KubeApi, KubeconfigError
from include.devcluster.controllers.gateway_admin import TOKEN
from include.devcluster.controllers.gateway_contents import GatewayContents
from include.devcluster.controllers.gateway_listeners import GATEWAYS, HTTP_ROUTES
from include.devcluster.controllers.gateway_resource import GatewayController
from include.devcluster.controllers.gateway_sync import GatewaySync
from include.devcluster.controllers.http_route import HTTPRouteController
from include.devcluster.controllers.inference_service import INFERENCE_SERVICES, InferenceServiceController
from include.devcluster.controllers.informer import Informer
from include.devcluster.controllers.mpi_job import MPI_JOBS, MPIJobController
from include.devcluster.controllers.objects import PODS, SERVICES
from include.devcluster.controllers.reconciler import Controller
from include.devcluster.controllers.spark_application import SPARK_APPLICATIONS, SparkApplicationController

log = logging.getLogger("controllers")


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m include.devcluster.controllers", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True, help="whose current context to use")
    parser.add_argument("--namespace", default="podium", help="the namespace to look after (default: podium)")
    parser.add_argument("--gateway-dir", type=Path, required=True, help="where Envoy reads its configuration")
    parser.add_argument("--gateway-url", default="http://127.0.0.1:8080", help="what clients call; for status.url")
    parser.add_argument(
        "--gateway-admin-url",
        default="",
        help=f"Envoy's admin port, whose token is ${TOKEN}; without it nothing is drained",
    )
    return parser.parse_args(arguments)


async def run(options: argparse.Namespace) -> None:
    """Start informers and controllers; returns on a signal, raises when one of them breaks."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with KubeApi(Credentials.from_kubeconfig(options.kubeconfig)) as api:
        pods, applications, jobs, inference_services, services = (
            Informer(api, resource, options.namespace)
            for resource in (PODS, SPARK_APPLICATIONS, MPI_JOBS, INFERENCE_SERVICES, SERVICES)
        )
        # A cluster of one's own may have no Gateway API.
        gateways, routes = (
            Informer(api, resource, options.namespace, optional=True) for resource in (GATEWAYS, HTTP_ROUTES)
        )
        sync = GatewaySync(options.gateway_dir, options.gateway_admin_url, os.environ.get(TOKEN, ""))
        contents = GatewayContents(sync, pods, inference_services, services, gateways, routes)
        url = urlsplit(options.gateway_url)
        parts: list[Informer | Controller] = [
            SparkApplicationController(api, applications, pods),
            MPIJobController(api, jobs, pods),
            InferenceServiceController(api, inference_services, pods, services, contents, options.gateway_url),
            HTTPRouteController(api, routes, pods, services, gateways, contents, url.port or 80),
            GatewayController(api, gateways, pods, routes, contents, url),
            *(pods, applications, jobs, inference_services, services, gateways, routes),
        ]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part.run()) for part in parts]
            log.info("watching namespace %s of %s", options.namespace, api.credentials.server)
            waiter = group.create_task(stop.wait())
            await asyncio.wait([waiter, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in (*tasks, waiter):
                task.cancel()


def main() -> int:
    """Exit code 2 when the kubeconfig cannot be used."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(run(parse(sys.argv[1:])))
    except KubeconfigError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
