"""The ranker behind KServe's Python model server."""

import logging
import re
from typing import Any

import kserve
import kserve.model_server
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady, UnsupportedProtocol
from starlette.exceptions import HTTPException

from include.jobs.ranking.model import RankerModel
from include.jobs.serving.clients import Clients, told
from include.jobs.serving.door import Door
from include.jobs.serving.protocol import BadRequestError, parse
from include.jobs.serving.recommendations import Recommender

#: A line per request and logger: noise at some hundred requests a second. Counts are at /metrics.
_PER_REQUEST_LOGGERS = ("uvicorn.access", "kserve.trace")
#: What a client can do wrong, or too early, and the status of the answer; KServe logs a traceback of each.
_STATUS: dict[type[Exception], int] = {
    InvalidInput: 400,
    ModelNotFound: 404,
    ModelNotReady: 503,
    NotImplementedError: 501,
    RequestValidationError: 422,
    UnsupportedProtocol: 501,
}


class RankerService(kserve.Model):  # type: ignore[misc]  # kserve has no types
    """Answers V1 predict requests. It is ready as soon as it exists: the model is in memory by then."""

    def __init__(self, name: str, model: RankerModel, version: str) -> None:
        super().__init__(name)
        self._version = version
        self.take(model)
        self.ready = True

    def take(self, model: RankerModel) -> None:
        """Answer from this model from now on; requests that are open go on with the one before."""
        self._served = Recommender(model), model.feature_view

    async def predict(
        self, payload: object, headers: dict[str, str] | None = None, response_headers: dict[str, str] | None = None
    ) -> dict[str, list[dict[str, Any]]]:
        """Recommend for each instance; a request that cannot be read is answered with status 400 and the reason."""
        try:
            queries = parse(payload)
        except BadRequestError as error:
            raise InvalidInput(str(error)) from error
        recommender, feature_view = self._served
        predictions = []
        for query in queries:
            found = recommender.recommend(query.household_id, query.k)
            predictions.append(
                {
                    "household_id": query.household_id,
                    "products": found.products,
                    "scores": found.scores,
                    "personal": found.personal,
                    "model_version": self._version,
                    "feature_view": feature_view,
                }
            )
        return {"predictions": predictions}

    def validate(self, payload: Any) -> Any:
        """Leave checking to `predict`, which says more than KServe's own check."""
        return payload


class PodServer(kserve.ModelServer):  # type: ignore[misc]  # kserve has no types
    """KServe's server, bound to one address, for who shows the key."""

    def __init__(self, host: str, port: int, grace_period_s: int, key: str, model_name: str) -> None:
        super().__init__(
            http_port=port, workers=1, enable_grpc=False, enable_latency_logging=False, grace_period=grace_period_s
        )
        self._host = host
        # The last one stands outside: who shows no key is asked for it before anything of the request is read.
        kserve.model_server.app.add_middleware(Clients)
        kserve.model_server.app.add_middleware(Door, key=key, ready=frozenset({f"/v1/models/{model_name}"}))
        for name in _PER_REQUEST_LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)

    async def _serve(self) -> None:
        # KServe binds 0.0.0.0 and takes no host: with an address a pod on one machine, all would meet on one port.
        rest = self._rest_server
        rest.config.host = self._host
        create = rest.create_application

        def create_application() -> None:
            create()
            for kind in (*_STATUS, HTTPException):
                kserve.model_server.app.add_exception_handler(kind, _answer)

        rest.create_application = create_application
        await super()._serve()


async def _answer(request: Request, error: Exception) -> JSONResponse:
    """What went wrong, to the client and, on one line, to the log."""
    if isinstance(error, HTTPException):
        status, reason, headers = error.status_code, str(error.detail), error.headers
    else:
        status = next(code for kind, code in _STATUS.items() if isinstance(error, kind))
        reason, headers = _reason(error), None
    told(request.method, request.url.path, status, reason)
    return JSONResponse({"error": reason}, status, headers)


def _reason(error: Exception) -> str:
    if not isinstance(error, RequestValidationError):
        return str(error)
    places = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    return "the request is not one of this protocol: " + "; ".join(places)


def version_of(uri: str) -> str:
    """What a model's address says about its version: `models:/recommender/3` -> 3, else the address itself."""
    found = re.fullmatch(r"models:/[^/@]+/(\d+)", uri)
    return found[1] if found else uri
