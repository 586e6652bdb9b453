"""The few calls to the MLflow registry that a rollout needs.

MLflow's REST API, since its client would add seconds to each task: https://mlflow.org/docs/latest/rest-api.html
"""

import base64
from typing import Any, Final, Self

from podium.errors import PodiumError
from podium.platform import settings

API: Final = "/api/2.0/mlflow"
TIMEOUT_S: Final = 20.0


class RegistryError(PodiumError):
    """The model registry refuses or cannot be reached."""


class ModelRegistryHook:
    """Aliases and tags of registered models.

    :param url: of the tracking server, without credentials.
    :param conn_id: the connection with the log-in and password that it asks for, or its password alone as a bearer
        token; None: it asks for nothing.
    """

    def __init__(self, url: str, conn_id: str | None = None) -> None:
        self.url = url.rstrip("/")
        self.conn_id = conn_id

    @classmethod
    def of_settings(cls) -> Self:
        """The registry of this environment."""
        return cls(settings().reach.mlflow_tracking_uri, settings().airflow.mlflow_connection_id)

    def version_of_alias(self, model: str, alias: str) -> str | None:
        """The version that an alias names; None when it names none.

        :raises RegistryError: the registry refuses or cannot be reached.
        """
        answer = self._call("GET", "/registered-models/alias", {"name": model, "alias": alias}, missing_is_none=True)
        return None if answer is None else str(answer["model_version"]["version"])

    def set_alias(self, model: str, alias: str, version: str) -> None:
        """Let an alias name a version; it names no other from then on.

        :raises RegistryError: the registry refuses or cannot be reached.
        """
        self._call("POST", "/registered-models/alias", {"name": model, "alias": alias, "version": version})

    def set_tag(self, model: str, version: str, key: str, value: str) -> None:
        """Tag a version.

        :raises RegistryError: the registry refuses or cannot be reached.
        """
        self._call("POST", "/model-versions/set-tag", {"name": model, "version": version, "key": key, "value": value})

    def tag(self, model: str, version: str, key: str) -> str | None:
        """A tag of a version; None when it has none of that key.

        :raises RegistryError: the registry refuses or cannot be reached.
        """
        answer = self._call("GET", "/model-versions/get", {"name": model, "version": version}) or {}
        tags = answer["model_version"].get("tags", [])
        return next((str(tag["value"]) for tag in tags if tag["key"] == key), None)

    def _call(
        self, method: str, path: str, values: dict[str, str], *, missing_is_none: bool = False
    ) -> dict[str, Any] | None:
        import httpx

        sent: dict[str, Any] = {"params": values} if method == "GET" else {"json": values}
        try:
            response = httpx.request(
                method, f"{self.url}{API}{path}", headers=self._headers(), timeout=TIMEOUT_S, **sent
            )
        except httpx.HTTPError as error:
            raise RegistryError(
                f"MLflow at {self.url} cannot be reached: {error or type(error).__name__}. "
                "Check that it runs, and endpoints.mlflow_tracking_uri in include/config; then clear the task."
            ) from error
        if response.is_success:
            answer: dict[str, Any] = response.json()
            return answer
        code = response.json().get("error_code") if response.headers.get("content-type") == "application/json" else ""
        if missing_is_none and code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        mend = ""
        if response.status_code in (401, 403):
            mend = (
                ". Give the connection that airflow.mlflow_connection_id in include/config names the log-in and "
                "password that MLflow asks for (its password alone is sent as a bearer token); then clear the task"
            )
        raise RegistryError(
            f"MLflow at {self.url} refuses {method} {path}: {response.status_code} {response.text[:300]}{mend}"
        )

    def _headers(self) -> dict[str, str]:
        from airflow.sdk import BaseHook

        if self.conn_id is None:
            return {}
        connection = BaseHook.get_connection(self.conn_id)
        if not connection.login:
            return {"Authorization": f"Bearer {connection.password}"}
        login = base64.b64encode(f"{connection.login}:{connection.password}".encode()).decode()
        return {"Authorization": f"Basic {login}"}
