"""The settings of one environment (`local`, `dev`, `staging`, `prod`).

`load_settings()` reads `include/config/<environment>.yaml`. The environment is `PODIUM_ENV`, `local` when
unset. Any key may be overridden by `PODIUM_<SECTION>__<KEY>`, for instance `PODIUM_PORTS__KAFKA=19092`.
All of it is validated at once; an error names the file, the key and the mend.
"""

import os
from pathlib import Path
from typing import Final, Literal, Self

import yaml
from pydantic import ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)

from include.config.airflow import Accounting, Airflow, Faults, Lineage, Links, Notifications
from include.config.pipeline import Drift, Features, Ingest, Recommender, Rollout, Upkeep
from include.config.platform import Endpoints, Kafka, Kubernetes, NodePool, Ports, SchemaRegistry

CONFIG_DIR = Path(__file__).parent
ENVIRONMENTS = ("local", "dev", "staging", "prod")


class ConfigError(Exception):
    """The configuration of an environment cannot be used; the text says which file, key and mend."""


#: In the environment of whatever runs: what is done here is told to nobody.
QUIET: Final = {"DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}


class Settings(BaseSettings):
    """All settings of one environment. Read them with `load_settings()`."""

    model_config = SettingsConfigDict(env_prefix="PODIUM_", env_nested_delimiter="__", frozen=True, extra="forbid")

    env: Literal["local", "dev", "staging", "prod"]
    kubernetes: Kubernetes
    ports: Ports | None = None
    endpoints: Endpoints = Endpoints()
    kafka: Kafka = Kafka()
    schema_registry: SchemaRegistry = SchemaRegistry()
    airflow: Airflow
    faults: Faults
    accounting: Accounting = Accounting()
    lineage: Lineage = Lineage()
    notifications: Notifications = Notifications()
    links: Links = Links()
    node_pools: dict[str, NodePool]
    images: dict[str, str]
    ingest: Ingest
    features: Features
    recommender: Recommender
    rollout: Rollout
    drift: Drift
    upkeep: Upkeep

    @model_validator(mode="after")
    def _pools_and_reach(self) -> Self:
        if self.recommender.node_pool not in self.node_pools:
            raise ValueError(
                f"recommender.node_pool: no pool {self.recommender.node_pool!r} under node_pools "
                f"(there are {', '.join(sorted(self.node_pools))})"
            )
        if self.ports is None and not all(
            getattr(self.endpoints, name) for name in Endpoints.model_fields if name != "metrics_url"
        ):
            raise ValueError("endpoints: without ports (the embedded platform) every endpoint must be given")
        return self

    @model_validator(mode="after")
    def _somebody_is_told(self) -> Self:
        if self.env == "prod" and not self.notifications.any:
            raise ValueError(
                "notifications: nobody is told of failures. Name a channel: slack_webhook_connection_id, "
                "pagerduty_events_connection_id or alertmanager_connection_id, a connection of Airflow"
            )
        return self

    @model_validator(mode="after")
    def _schemas(self) -> Self:
        for name, topic in self.ingest.topics.items():
            if topic.value_format != "json" and self.schema_registry.url is None:
                raise ValueError(
                    f"ingest.topics.{name}.value_format: {topic.value_format} needs a schema registry: give "
                    "schema_registry.url, or json as the format"
                )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment variables win over the file; nothing else is read."""
        return (init_settings, env_settings, YamlConfigSettingsSource(settings_cls))

    @property
    def reach(self) -> Endpoints:
        """The endpoints, with those of the embedded platform derived from its ports."""
        return self._endpoints(self.ports, "127.0.0.1", "") if self.ports else self.endpoints

    @property
    def reach_from_pods(self) -> Endpoints:
        """The same as the jobs' pods see them. It differs where the platform is embedded and the cluster is not."""
        if self.ports is None or not self.kubernetes.host_address:
            return self.reach
        return self._endpoints(self.ports, self.kubernetes.host_address, "_pods")

    def _endpoints(self, ports: Ports, host: str, view: str) -> Endpoints:
        services = ("kafka", "s3", "postgres", "mlflow", "gateway")
        kafka, s3, postgres, mlflow, gateway = (f"{host}:{getattr(ports, name + view)}" for name in services)
        derived = {
            "kafka_bootstrap_servers": kafka,
            "s3_endpoint_url": f"http://{s3}",
            "lake_catalog_uri": f"postgresql://{postgres}/lake",
            "mlflow_tracking_uri": f"http://{mlflow}",
            "gateway_url": f"http://{gateway}",
            "metrics_url": f"http://127.0.0.1:{ports.gateway_admin}",
        }
        given = {name: value for name, value in self.endpoints.model_dump().items() if value}
        return Endpoints(**(derived | given))

    def platform_environment(self) -> dict[str, str]:
        """What the ConfigMap `podium-platform` holds: the environment of every job, without a secret."""
        reach = self.reach_from_pods
        return {
            "PODIUM_ENV": self.env,
            "KAFKA_BOOTSTRAP_SERVERS": reach.kafka_bootstrap_servers,
            "KAFKA_SECURITY_PROTOCOL": self.kafka.security_protocol,
            **({"KAFKA_SASL_MECHANISM": self.kafka.sasl_mechanism} if self.kafka.sasl_mechanism else {}),
            **({"SCHEMA_REGISTRY_URL": self.schema_registry.url} if self.schema_registry.url else {}),
            "S3_ENDPOINT_URL": reach.s3_endpoint_url,
            "AWS_REGION": reach.s3_region,
            "LAKE_WAREHOUSE": reach.lake_warehouse,
            "LAKE_CATALOG_URI": reach.lake_catalog_uri,
            "MLFLOW_TRACKING_URI": reach.mlflow_tracking_uri,
            **QUIET,
        }


def load_settings(environment: str | None = None, directory: Path = CONFIG_DIR) -> Settings:
    """Read and validate the settings of an environment.

    :param environment: its name; default: `PODIUM_ENV`, else `local`.
    :param directory: where the YAML files lie.
    :raises ConfigError: unknown environment, unreadable file, or invalid values; all of them are listed.
    """
    name = environment or os.environ.get("PODIUM_ENV") or "local"
    if name not in ENVIRONMENTS:
        raise ConfigError(f"PODIUM_ENV={name!r} is no environment: use one of {', '.join(ENVIRONMENTS)}")
    path = directory / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file; restore it from the repository")

    class _FromFile(Settings):
        model_config = SettingsConfigDict(yaml_file=path)

    try:
        return _FromFile.model_validate({"env": name})
    except ValidationError as error:
        raise ConfigError(_explain(path, error)) from error
    except (SettingsError, yaml.YAMLError, TypeError, OSError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def _explain(path: Path, error: ValidationError) -> str:
    """One line a mistake: the key, what is wrong with it, what was found, and where a value may come from."""
    lines = [f"{path}: {error.error_count()} mistake(s)"]
    for item in error.errors(include_url=False, include_context=False):
        keys = [str(part) for part in item["loc"]]
        variable = "PODIUM_" + "__".join(key.upper() for key in keys)
        found = "" if item["type"] in ("missing", "value_error") else f", found {item['input']!r}"
        lines.append(f"  {'.'.join(keys) or 'as a whole'}: {item['msg']}{found}")
        if keys and variable in os.environ:
            lines.append(f"    (the value comes from {variable} in the environment: correct or unset it)")
    lines.append("Correct the file (or the variable) and start again; nothing has been started.")
    return "\n".join(lines)
