"""What a task has read and written, as its job reports it, for OpenLineage and for the audit trail.

A job's result holds `datasets`: `inputs` and `outputs`, lists of `{kind, name, snapshot_id, version, rows, given_up}`
(kind `table`, `topic`, `model` or `service`; what does not apply is left out). Operators keep what their pods report in
`reported`; those that have none say themselves what they have read and written.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from podium.platform import settings

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset

    from podium.identity import Identity

KEY: Final = "datasets"

Dataset = dict[str, Any]


@dataclass(frozen=True)
class Reported:
    """What the work of a task has left behind.

    :param result: the job's result.
    :param image_id: of the container that did it, as the cluster resolved it: `repository@sha256:…`.
    """

    result: Any = None
    image_id: str = ""

    @property
    def inputs(self) -> list[Dataset]:
        """What was read."""
        return self._datasets("inputs")

    @property
    def outputs(self) -> list[Dataset]:
        """What was written."""
        return self._datasets("outputs")

    @property
    def digest(self) -> str:
        """`sha256:…` of the image; empty when the cluster did not tell."""
        return self.image_id.partition("@")[2]

    def _datasets(self, which: str) -> list[Dataset]:
        datasets = self.result.get(KEY) if isinstance(self.result, Mapping) else None
        return list((datasets or {}).get(which, ()))


class ReportsDatasets:
    """What an operator needs to tell OpenLineage and the audit trail what it has read and written.

    `identity` is that of its work, once it is known.
    """

    reported = Reported()
    identity: "Identity | None" = None

    def report(self, inputs: "Iterable[Dataset]" = (), outputs: "Iterable[Dataset]" = ()) -> None:
        """Note what a task without a pod has read and written."""
        self.reported = Reported({KEY: {"inputs": list(inputs), "outputs": list(outputs)}})

    def get_openlineage_facets_on_complete(self, _: Any) -> "OperatorLineage[Any, Any]":
        """What the work has read and written, for the OpenLineage provider."""
        return openlineage(self)


def model(name: str, version: str) -> Dataset:
    """A version of a registered model."""
    return {"kind": "model", "name": name, "version": version}


def service(name: str, version: str) -> Dataset:
    """An InferenceService that serves a version of its model."""
    return {"kind": "service", "name": name, "version": version}


def reported(operator: Any) -> Reported:
    """What an operator's work has reported; nothing, for an operator that starts none or has not finished."""
    found = getattr(operator, "reported", None)
    return found if isinstance(found, Reported) else Reported()


def image_id(pod: Any, container: str) -> str:
    """The image that a container of a pod ran, resolved; empty when the pod does not tell.

    :param pod: as the API gives it: a dictionary.
    """
    statuses = ((pod or {}).get("status") or {}).get("containerStatuses") or []
    return next((status.get("imageID") or "" for status in statuses if status.get("name") == container), "")


def openlineage(operator: Any) -> "OperatorLineage[Any, Any]":
    """The datasets of an operator's work as OpenLineage has them: snapshot as version, rows as statistics."""
    from airflow.providers.openlineage.extractors import OperatorLineage

    work = reported(operator)
    return OperatorLineage(
        inputs=[_input(dataset) for dataset in work.inputs], outputs=[_output(dataset) for dataset in work.outputs]
    )


def _input(dataset: Mapping[str, Any]) -> "InputDataset":
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.generated.input_statistics_input_dataset import InputStatisticsInputDatasetFacet

    place, rows = _Place.of(dataset), dataset.get("rows")
    counted: dict[str, Any] = (
        {} if rows is None else {"inputStatistics": InputStatisticsInputDatasetFacet(rowCount=rows)}
    )
    return InputDataset(place.namespace, place.name, facets=place.facets, inputFacets=counted)


def _output(dataset: Mapping[str, Any]) -> "OutputDataset":
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.generated.output_statistics_output_dataset import OutputStatisticsOutputDatasetFacet

    place, rows = _Place.of(dataset), dataset.get("rows")
    counted: dict[str, Any] = (
        {} if rows is None else {"outputStatistics": OutputStatisticsOutputDatasetFacet(rowCount=rows)}
    )
    return OutputDataset(place.namespace, place.name, facets=place.facets, outputFacets=counted)


@dataclass(frozen=True)
class _Place:
    """Where a dataset is: https://openlineage.io/docs/spec/naming."""

    namespace: str
    name: str
    facets: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, dataset: Mapping[str, Any]) -> "_Place":
        from openlineage.client.generated.dataset_version_dataset import DatasetVersionDatasetFacet

        reach, kind = settings().reach, dataset.get("kind", "table")
        namespaces = {
            "table": reach.lake_catalog_uri,
            "topic": f"kafka://{reach.kafka_bootstrap_servers.partition(',')[0]}",
            "model": reach.mlflow_tracking_uri,
            "service": f"kserve://{settings().kubernetes.namespace}",
        }
        version = dataset.get("snapshot_id") or dataset.get("version")
        facets = {"version": DatasetVersionDatasetFacet(datasetVersion=str(version))} if version else {}
        return cls(namespaces[kind], str(dataset["name"]), facets)
