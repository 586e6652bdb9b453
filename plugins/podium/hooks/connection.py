"""Clients of the Kubernetes API, for longer than their credentials are good.

Tokens of EKS and GKE, which a plug-in of the kubeconfig gets, are good for minutes, those of service accounts for an
hour. The clients load them once. So when the server refuses them they are loaded anew, and the request is made again.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook, KubernetesHook
from kubernetes.client import ApiClient as SyncApiClient  # noqa: TID253 - the provider's hook imports it anyway
from kubernetes.client import ApiException as SyncApiException  # noqa: TID253

from podium.platform import settings

if TYPE_CHECKING:
    from kubernetes_asyncio.client import ApiClient

log = logging.getLogger(__name__)

UNAUTHORIZED: Final = 401
PAUSE_S: Final = 2.0


class RenewingHook(KubernetesHook):
    """The provider's hook, whose client loads its credentials anew when the server refuses them."""

    def get_conn(self) -> SyncApiClient:
        """A client, as the provider makes it."""
        client = super().get_conn()
        send = client.request

        def request(method: str, url: str, *arguments: Any, **options: Any) -> Any:
            nonlocal send
            try:
                return send(method, url, *arguments, **options)
            except SyncApiException as error:
                if error.status != UNAUTHORIZED:
                    raise
            renewed = KubernetesHook.get_conn(self)
            log.info("The credentials of the connection %s were loaded anew", self.conn_id)
            send, client.configuration = renewed.request, renewed.configuration
            headers = _without_authorization(options.get("headers"))
            client.update_params_for_auth(headers, [], ["BearerToken"])
            return send(method, url, *arguments, **{**options, "headers": headers})

        client.request = request
        return client


@asynccontextmanager
async def connect(conn_id: str) -> AsyncIterator["ApiClient"]:
    """A client for an event loop, until the end of the context.

    A request that is refused with new credentials too is answered so: whoever provides them may be away for a while.

    :param conn_id: the Kubernetes connection.
    """
    async with AsyncExitStack() as stack:
        client = await _first(conn_id, stack)
        renewing = _Renewing(conn_id, client, stack)
        client.request = renewing.request  # type: ignore[method-assign, assignment]
        yield client


async def _first(conn_id: str, stack: AsyncExitStack) -> "ApiClient":
    """A client as soon as there are credentials for one, which are waited for as long as an outage is borne."""
    from kubernetes_asyncio.config import ConfigException

    async with asyncio.timeout(settings().faults.api_outage_s):
        while True:
            try:
                return await stack.enter_async_context(AsyncKubernetesHook(conn_id=conn_id).get_conn())
            except ConfigException as error:
                if not str(error).startswith("exec:"):
                    raise
                log.warning("The credentials of the connection %s cannot be loaded yet (%s)", conn_id, error)
            await asyncio.sleep(PAUSE_S)


class _Renewing:
    """Sends the requests of a client."""

    def __init__(self, conn_id: str, client: "ApiClient", stack: AsyncExitStack) -> None:
        self._conn_id, self._client, self._stack = conn_id, client, stack
        self._send, self._lock = client.request, asyncio.Lock()

    async def request(self, method: str, url: str, **options: Any) -> Any:
        """As the client has it.

        :raises ApiException: as the client does.
        """
        from kubernetes_asyncio.client import ApiException

        send = self._send
        try:
            answer = await send(method, url, **options)
        except ApiException as error:
            if error.status != UNAUTHORIZED or not await self._renew(send):
                raise
        else:
            # One that the caller is to read itself has not been looked at by the client.
            if answer.status != UNAUTHORIZED or not await self._renew(send):
                return answer
            answer.close()
        headers = _without_authorization(options.get("headers"))
        await self._client.update_params_for_auth(headers, [], ["BearerToken"])
        return await self._send(method, url, **{**options, "headers": headers})

    async def _renew(self, refused: Any) -> bool:
        """Load the credentials, unless somebody has done so since the refused request; return whether they are new."""
        async with self._lock:
            if self._send is not refused:
                return True
            try:
                hook = AsyncKubernetesHook(conn_id=self._conn_id)
                renewed = await self._stack.enter_async_context(hook.get_conn())
            except Exception as error:
                # A plug-in, or what it asks, may be away: the caller asks again.
                log.warning("The credentials of the connection %s cannot be loaded (%r)", self._conn_id, error)
                return False
            log.info("The credentials of the connection %s were loaded anew", self._conn_id)
            self._send = renewed.request
            self._client.configuration = renewed.configuration
            return True


def _without_authorization(headers: Mapping[str, str] | None) -> dict[str, str]:
    return {name: value for name, value in (headers or {}).items() if name.lower() != "authorization"}
