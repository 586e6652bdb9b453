"""Rules of volumes and their sources."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from include.devcluster.core.objects import Object
from include.devcluster.core.quantity import parse
from include.devcluster.validation import formats
from include.devcluster.validation.containers import relative, resource_field
from include.devcluster.validation.rules import (
    Cause,
    Place,
    Table,
    at_most_one,
    between,
    forbidden,
    form,
    invalid,
    missing,
    named,
    one_of,
    required,
    unsupported,
)  # fmt: skip

MODE = 0o777
_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_SOURCES = (
    "emptyDir", "hostPath", "gitRepo", "gcePersistentDisk", "awsElasticBlockStore", "secret", "nfs", "iscsi", "glusterfs",  # noqa: E501
    "persistentVolumeClaim", "rbd", "cinder", "cephfs", "flocker", "downwardAPI", "fc", "azureFile", "configMap",
    "vsphereVolume", "quobyte", "azureDisk", "photonPersistentDisk", "portworxVolume", "scaleIO", "storageos", "csi",
    "projected", "ephemeral", "image",
)  # fmt: skip


def _mode(value: Any, at: Place) -> Iterator[Cause]:
    if value is not None and not 0 <= value <= MODE:
        yield invalid(at.path, value, "must be a number between 0 and 0777 (octal), both inclusive")


def _inside(value: Any, at: Place) -> Iterator[Cause]:
    """A path below the volume."""
    if not value:
        yield missing(at.path)
        return
    yield from (invalid(at.path, value, wrong) for wrong in relative(value))
    if value.startswith("..") and ".." not in value.split("/"):
        yield invalid(at.path, value, "must not start with '..'")


def _size(value: Any, at: Place) -> Iterator[Cause]:
    if value is not None and parse(value) < 0:
        yield forbidden(at.path, "SizeLimit field must be a valid resource quantity")


def _no_way_up(value: Any, at: Place) -> Iterator[Cause]:
    if not value:
        yield missing(at.path)
    elif ".." in value.split("/"):
        yield invalid(at.path, value, "must not contain '..'")


def _absolute(value: Any, at: Place) -> Iterator[Cause]:
    if not value:
        yield missing(at.path)
    elif not value.startswith("/"):
        yield invalid(at.path, value, "must be an absolute path")


def _downward(value: Any, at: Place) -> Iterator[Cause]:
    """Files of the downward API; the place in the list is not said."""
    for item in value or []:
        reference, resource = item.get("fieldRef"), item.get("resourceFieldRef")
        if reference and resource:
            yield invalid(
                _above(at.path), "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"
            )
        elif reference:
            path = reference.get("fieldPath") or ""
            if path not in _FIELDS and not path.startswith(("metadata.labels['", "metadata.annotations['")):
                yield unsupported(f"{_above(at.path)}.fieldRef.fieldPath", path, _FIELDS)
        elif resource:
            where = f"{_above(at.path)}.resourceFieldRef"
            if not resource.get("containerName"):
                yield missing(f"{where}.containerName")
            else:
                yield from resource_field(resource, Place(where, at.parents))
        else:
            yield missing(_above(at.path), "one of fieldRef and resourceFieldRef is required")


def _above(path: str) -> str:
    return path.rpartition(".")[0]


def _projected(value: Any, at: Place) -> Iterator[Cause]:
    taken: set[str] = set()
    for place, source in enumerate(value.get("sources") or []):
        if len(source) > 1:
            yield forbidden(f"{at.path}.sources[{place}]", "may not specify more than 1 volume type per source")
        for kind, inner in source.items():
            paths = [item.get("path") for item in inner.get("items") or []] or (
                [inner["path"]] if "path" in inner else []
            )
            for path in paths:
                if path in taken:
                    yield invalid(at.path, inner.get("name") or kind, "conflicting duplicate paths")
                taken.add(path)


def _lifetime(value: Any, at: Place) -> Iterator[Cause]:
    if value is not None and value < 600:
        yield invalid(at.path, value, "may not specify a duration less than 10 minutes")


def _driver(value: Any, at: Place) -> Iterator[Cause]:
    if not value:
        yield missing(at.path)
    yield from named(formats.dns_subdomain)(value, at)


def volume_sources(volume: Object) -> list[str]:
    """The sources that a volume names."""
    return [name for name in _SOURCES if volume.get(name) is not None]


_ITEMS = {"defaultMode": [_mode]}
TABLE: Table = {
    "Volume": {
        "": [at_most_one(*_SOURCES, wrong="may not specify more than 1 volume type")],
        "name": [form(formats.dns_label, needed=True)],
    },
    "EmptyDirVolumeSource": {"sizeLimit": [_size]},
    "ConfigMapVolumeSource": {"name": [required], **_ITEMS},
    "SecretVolumeSource": {"secretName": [required], **_ITEMS},
    "KeyToPath": {"key": [required], "path": [_inside], "mode": [_mode]},
    "PersistentVolumeClaimVolumeSource": {"claimName": [required]},
    "HostPathVolumeSource": {
        "path": [_no_way_up],
        "type": [
            one_of("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
        ],
    },
    "DownwardAPIVolumeSource": {"items": [_downward], **_ITEMS},
    "DownwardAPIProjection": {"items": [_downward]},
    "DownwardAPIVolumeFile": {"path": [_inside], "mode": [_mode]},
    "ProjectedVolumeSource": {"": [_projected], **_ITEMS},
    "ConfigMapProjection": {"name": [required]},
    "SecretProjection": {"name": [required]},
    "ServiceAccountTokenProjection": {"expirationSeconds": [_lifetime], "path": [_inside]},
    "NFSVolumeSource": {"server": [required], "path": [_absolute]},
    "CSIVolumeSource": {"driver": [_driver]},
    "EphemeralVolumeSource": {"volumeClaimTemplate": [required]},
    "ISCSIVolumeSource": {"targetPortal": [required], "iqn": [required], "lun": [between(0, 255)]},
}
