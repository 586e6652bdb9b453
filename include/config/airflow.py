"""Settings of Airflow: its patience, and whom and what it tells of its tasks."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from include.config.section import Section


class Airflow(Section):
    """How patient and how parallel Airflow is."""

    parallelism: int = Field(ge=1)
    retries: int = Field(ge=0)
    retry_delay_s: float = Field(ge=0)
    owner: str
    defer_after_s: int = Field(
        default=5,
        ge=1,
        description="a pod that is done by then is waited for on the spot: to defer costs a second process",
    )
    backfill_check_s: float = Field(
        default=2, gt=0, description="how often backfills that have ended are looked for, to be announced"
    )
    audit_check_s: float = Field(
        default=10, gt=0, description="how often it is looked what people have asked of Airflow, for the audit trail"
    )
    lake_connection_id: str = Field(default="podium_lake", description="AWS connection to the lake's bucket")
    pseudonyms_connection_id: str = Field(
        default="podium_pseudonyms",
        description="connection whose password is the key that people's names are hashed with",
    )
    mlflow_connection_id: str | None = Field(
        default=None,
        description="connection whose log-in and password MLflow asks for, or its password alone as a bearer token; "
        "none: it asks for nothing",
    )
    metrics_connection_id: str | None = Field(
        default=None,
        description="connection whose password is the bearer token that endpoints.metrics_url asks for; none: nothing",
    )


class Faults(Section):
    """How soon it is seen that a process has died, and how long an outage is borne.

    A false alarm costs an attempt, never the work: the next attempt joins it. So these may be tighter than Airflow's
    own (300 s), as long as they are longer than the longest pause of a healthy process.
    """

    task_heartbeat_s: int = Field(ge=1, description="how often a task says that it lives")
    task_heartbeat_timeout_s: int = Field(ge=3, description="a task that was silent for so long is tried again")
    job_heartbeat_s: int = Field(ge=1, description="how often scheduler and triggerer say that they live")
    job_timeout_s: int = Field(
        ge=3, description="what a scheduler or triggerer had that was silent for so long is taken over"
    )
    orphan_check_interval_s: int = Field(ge=1, description="how often tasks of dead schedulers are looked for")
    abandoned_work_check_s: float = Field(
        gt=0, description="how often work is looked for whose task has ended, to be deleted"
    )
    api_outage_s: float = Field(ge=0, description="how long a task asks again when the cluster's API is away")
    defer_noted_s: float = Field(
        ge=0, description="how long a scheduler may take to note that a task has deferred; no trigger fires before"
    )

    @model_validator(mode="after")
    def _patient(self) -> Self:
        for timeout, heartbeat in (
            ("task_heartbeat_timeout_s", "task_heartbeat_s"),
            ("job_timeout_s", "job_heartbeat_s"),
        ):
            if getattr(self, timeout) < 3 * getattr(self, heartbeat):
                raise ValueError(f"{timeout} must be at least three times {heartbeat}: one heartbeat may well be late")
        return self


class Accounting(Section):
    """Who had how many GPUs for how long."""

    schedule: str | None = Field(default=None, description="cron: when the ledger is brought up to date")


class Lineage(Section):
    """Where OpenLineage events of the tasks go."""

    transport: Literal["none", "file", "kafka", "http"] = Field(
        default="none", description="file: logs/lineage of the embedded platform, one JSON object a line"
    )
    namespace: str = Field(default="podium", description="of the jobs in the events")
    topic: str = Field(default="", description="kafka: the topic, on the platform's broker")
    url: str = Field(default="", description="http: base address of an OpenLineage API, for instance Marquez")

    @model_validator(mode="after")
    def _where(self) -> Self:
        for transport, key in (("kafka", "topic"), ("http", "url")):
            if self.transport == transport and not getattr(self, key):
                raise ValueError(f"transport {transport} needs {key}")
        return self


class Notifications(Section):
    """Who is told of a failed or slow task: connections of Airflow, each a channel. None of them, nobody.

    A try of a task is slow when it takes longer than `slow_after_s`, and `slow_factor` times what 19 of 20 of its last
    successes have taken.
    """

    slack_webhook_connection_id: str | None = None
    pagerduty_events_connection_id: str | None = None
    alertmanager_connection_id: str | None = Field(default=None, description="an HTTP connection")
    slow_after_s: float = Field(default=300, gt=0, description="no task is slow before; tasks so short may vary")
    slow_factor: float = Field(default=3, gt=1, description="how many times as long as usual is slow")
    slow_after_successes: int = Field(
        default=5, ge=1, description="what is usual is not known before: first runs are never slow"
    )
    slow_check_s: float = Field(default=30, gt=0, description="how often slow tasks are looked for")

    @property
    def any(self) -> bool:
        """Whether somebody is told."""
        channels = (
            *(self.slack_webhook_connection_id, self.pagerduty_events_connection_id),
            self.alertmanager_connection_id,
        )
        return any(channels)


class Links(Section):
    """Where a task's page leads.

    Addresses of `pod_logs` and `spark_ui` have the places {namespace} and {name} (of the object in the cluster).
    """

    pod_logs: str | None = None
    spark_ui: str | None = None
    data_docs: str | None = Field(
        default=None,
        description="where pages of the lake's bucket can be read, with the places {bucket} and {key}; none: an "
        "address that the bucket signs for a week",
    )

    @field_validator("pod_logs", "spark_ui")
    @classmethod
    def _known_places(cls, value: str | None) -> str | None:
        return _with_places(value, "namespace", "name")

    @field_validator("data_docs")
    @classmethod
    def _known_places_of_pages(cls, value: str | None) -> str | None:
        return _with_places(value, "bucket", "key")


def _with_places(value: str | None, first: str, second: str) -> str | None:
    """The address, if it has no other places than these."""
    try:
        (value or "").format(**{first: "", second: ""})
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"{value!r} has a place that is neither {{{first}}} nor {{{second}}}") from error
    return value
