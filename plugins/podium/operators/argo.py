"""A workflow of others: a Workflow of Argo Workflows, made from a template that the cluster has."""

from collections.abc import Sequence
from typing import Any, ClassVar

from podium.hooks.custom_resource import Object
from podium.identity import Identity
from podium.kinds import WORKFLOW, Kind
from podium.operators.custom_resource import CustomResourceOperator
from podium.platform import settings


class ArgoWorkflowOperator(CustomResourceOperator):
    """Runs a WorkflowTemplate with parameters and returns the workflow's output parameters as {name: value}.

    What a workflow does is its template's affair, and so is where its pods run: this waits for it, as a step among
    others that Airflow orders.

    :param template: name of a WorkflowTemplate in Podium's namespace.
    :param cluster_scope: it is a ClusterWorkflowTemplate.
    :param parameters: arguments of the workflow, templated; no secrets.
    :param entrypoint: default: the template's.
    """

    kind: ClassVar[Kind] = WORKFLOW
    template_fields: Sequence[str] = ("template", "parameters")

    def __init__(
        self,
        *,
        template: str,
        cluster_scope: bool = False,
        parameters: dict[str, str] | None = None,
        entrypoint: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**({"wants_result": False} | kwargs))
        self.template = template
        self.cluster_scope = cluster_scope
        self.parameters = dict(parameters or {})
        self.entrypoint = entrypoint

    def manifest(self, identity: Identity) -> Object:
        """The Workflow."""
        spec: Object = {
            "workflowTemplateRef": {"name": self.template, "clusterScope": self.cluster_scope},
            "arguments": {"parameters": [{"name": name, "value": value} for name, value in self.parameters.items()]},
        }
        if self.entrypoint is not None:
            spec["entrypoint"] = self.entrypoint
        return {
            "apiVersion": self.kind.api_version,
            "kind": self.kind.name,
            "metadata": {"name": identity.name, "namespace": settings().kubernetes.namespace},
            "spec": spec,
        }

    def result(self, finished: Object) -> Any:
        """The workflow's output parameters."""
        outputs = finished["status"].get("outputs") or {}
        return {entry["name"]: entry.get("value") for entry in outputs.get("parameters") or []}
