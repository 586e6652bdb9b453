"""What happens with an image that is not there: the reasons and events of a failed pull."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from include.devcluster.config import Image
from include.devcluster.core.container import Container

RETRY_S = 5.0
SHOWN_S = 1.0
"""How long ErrImagePull shows before it becomes ImagePullBackOff."""
_REFERENCE = re.compile(r"^[a-z0-9][a-z0-9._/:-]*(:[\w][\w.-]*)?(@sha256:[0-9a-fA-F]+)?$")


class Record(Protocol):
    """Writes an event of the container's pod."""

    def __call__(self, reason: str, message: str, *, warning: bool = False, container: str = "") -> None:
        """One event, a Warning or Normal."""


def refuse(container: Container, image: Image | None, known: Mapping[str, Image], record: Record) -> float:
    """Hold a container whose image is not known, or not complete; returns seconds until it must be looked at again."""
    reference, policy = container.spec["image"], container.spec["imagePullPolicy"]
    if not _REFERENCE.match(reference):
        text = (
            f'Failed to apply default image tag "{reference}": couldn\'t parse image name "{reference}": '
            "invalid reference format"
        )
        return _hold(container, "InvalidImageName", text, "InspectFailed", record)
    if policy == "Never":
        text = f'Container image "{reference}" is not present with pull policy of Never'
        return _hold(container, "ErrImageNeverPull", text, "ErrImageNeverPull", record)
    why = (
        f"not found: the dev cluster runs only the images of its configuration ({', '.join(sorted(known)) or 'none'})"
        if image is None
        else f"its content is not built yet: {image.marker} is missing"
    )
    text = f'failed to pull and unpack image "{reference}": {why}'
    record("Pulling", f'Pulling image "{reference}"', container=container.name)
    record("Failed", f'Failed to pull image "{reference}": {text}', warning=True, container=container.name)
    record("Failed", "Error: ErrImagePull", warning=True, container=container.name)
    container.refuse("ErrImagePull", text, container.pull_failed())
    return SHOWN_S


def back_off(container: Container, record: Record) -> None:
    """A pull has failed a moment ago: show that it will be tried again."""
    if not container.hold or container.hold[0] != "ErrImagePull":
        return
    text = f'Back-off pulling image "{container.spec["image"]}"'
    record("BackOff", text, container=container.name)
    record("Failed", "Error: ImagePullBackOff", warning=True, container=container.name)
    container.hold = ("ImagePullBackOff", f"{text}: ErrImagePull: {container.hold[1]}")


def _hold(container: Container, reason: str, message: str, event: str, record: Record) -> float:
    if not container.hold:
        record(event, message, warning=True, container=container.name)
    container.refuse(reason, message, RETRY_S)
    return RETRY_S
