"""What is asked, by topic."""

from __future__ import annotations

from tests.devcluster.differential.case import Cases
from tests.devcluster.differential.requests import (
    applying,
    config,
    containers,
    deleting,
    discovery,
    fields,
    listing,
    metadata,
    others,
    patches,
    pods,
    services,
    updates,
)

TOPICS: dict[str, Cases] = {
    module.__name__.rpartition(".")[2]: module.CASES
    for module in (
        applying,
        config,
        containers,
        deleting,
        discovery,
        fields,
        listing,
        metadata,
        others,
        patches,
        pods,
        services,
        updates,
    )
}
