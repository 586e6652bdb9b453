"""A pod's volumes as folders of the host."""

from __future__ import annotations

import base64
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from include.devcluster.core.objects import Object, namespace, uid
from include.devcluster.core.store import Store
from include.devcluster.node.environment import field, resource_field

READONLY = ("configMap", "secret", "downwardAPI", "projected")


def references(pod: Object) -> dict[str, set[str]]:
    """Names of the config maps, secrets and claims that a pod uses, by resource."""
    found: dict[str, set[str]] = {"configmaps": set(), "secrets": set(), "persistentvolumeclaims": set()}

    def walk(value: Any) -> None:
        if isinstance(value, list):
            for item in value:
                walk(item)
        elif isinstance(value, dict):
            for key, inner in value.items():
                if key in ("configMap", "configMapRef", "configMapKeyRef"):
                    found["configmaps"].add(inner.get("name", ""))
                elif key in ("secret", "secretRef", "secretKeyRef"):
                    found["secrets"].add(inner.get("secretName") or inner.get("name", ""))
                elif key == "persistentVolumeClaim":
                    found["persistentvolumeclaims"].add(inner.get("claimName", ""))
                else:
                    walk(inner)

    walk(pod["spec"])
    return found


class VolumeError(Exception):
    """A volume cannot be set up yet, or ever (event FailedMount)."""


class Volumes:
    """Makes, refreshes and removes the volumes of pods.

    :param root: the dev cluster's folder: claims live in `claims/`, everything else in the pod's folder.
    """

    def __init__(self, root: Path, store: Store) -> None:
        self._root, self._store = root, store

    def folder(self, pod: Object, volume: str) -> Path:
        """Where the contents of a volume are."""
        spec: Object = next((v for v in pod["spec"].get("volumes") or [] if v["name"] == volume), {})
        if source := spec.get("hostPath"):
            return Path(source["path"])
        if source := spec.get("persistentVolumeClaim"):
            return self._root / "claims" / namespace(pod) / str(source["claimName"])
        return self._root / "pods" / uid(pod) / "volumes" / volume

    def prepare(self, pod: Object) -> None:
        """Make all volumes of a pod, or bring their contents up to date. Raises VolumeError."""
        for volume in pod["spec"].get("volumes") or []:
            self._prepare(pod, volume, self.folder(pod, volume["name"]))

    def _prepare(self, pod: Object, volume: Object, folder: Path) -> None:
        kind = next((key for key in volume if key != "name"), "emptyDir")
        match kind:
            case "emptyDir":
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(0o777)
            case "hostPath":
                _host_path(volume[kind], folder)
            case "persistentVolumeClaim":
                if not self._store.get("persistentvolumeclaims", namespace(pod), folder.name):
                    raise VolumeError(f'persistentvolumeclaim "{folder.name}" not found')
                folder.mkdir(parents=True, exist_ok=True)
            case "configMap" | "secret" | "downwardAPI" | "projected":
                source = volume[kind]
                mode = source.get("defaultMode", 0o644)
                parts: list[Object] = source.get("sources") or [] if kind == "projected" else [{kind: source}]
                files: dict[str, tuple[bytes, int]] = {}
                for part in parts:
                    files |= self._files(pod, volume["name"], part, mode)
                _write(folder, files)
            case other:
                raise VolumeError(f'volume "{volume["name"]}": {other} volumes are not served by the dev cluster')

    def _files(self, pod: Object, volume: str, part: Object, mode: int) -> dict[str, tuple[bytes, int]]:
        """Path in the volume -> contents and mode."""
        kind, source = next(iter(part.items()))
        if kind == "downwardAPI":
            return {item["path"]: (_downward(pod, item), item.get("mode", mode)) for item in source.get("items") or []}
        if kind not in ("configMap", "secret"):
            raise VolumeError(f'volume "{volume}": {kind} is not served by the dev cluster in a projected volume')
        own = source.get("secretName") or source.get("name")
        obj = self._store.get("secrets" if kind == "secret" else "configmaps", namespace(pod), own)
        if obj is None:
            if source.get("optional"):
                return {}
            raise VolumeError(f'MountVolume.SetUp failed for volume "{volume}" : {kind.lower()} "{own}" not found')
        plain: dict[str, str] = obj.get("data") or {}
        coded: dict[str, str] = obj.get("binaryData") or {}
        if kind == "secret":
            plain, coded = {}, plain
        data = {key: value.encode() for key, value in plain.items()}
        data |= {key: base64.b64decode(value or "") for key, value in coded.items()}
        if not source.get("items"):
            return {key: (value, mode) for key, value in data.items()}
        files = {}
        for item in source["items"]:
            if item["key"] not in data:
                if source.get("optional"):
                    continue
                raise VolumeError(
                    f'MountVolume.SetUp failed for volume "{volume}" : references non-existent {kind.lower()} key: '
                    f"{item['key']}"
                )
            files[item["path"]] = (data[item["key"]], item.get("mode", mode))
        return files

    def remove(self, pod_uid: str) -> None:
        """Remove what belonged to the pod alone."""
        shutil.rmtree(self._root / "pods" / pod_uid, ignore_errors=True)

    def remove_claim(self, claim: Object) -> None:
        """A deleted claim takes its data along."""
        shutil.rmtree(self._root / "claims" / namespace(claim) / claim["metadata"]["name"], ignore_errors=True)


def _downward(pod: Object, item: Object) -> bytes:
    if reference := item.get("fieldRef"):
        return field(pod, reference["fieldPath"]).encode()
    reference = item["resourceFieldRef"]
    container = next(c for c in pod["spec"]["containers"] if c["name"] == reference["containerName"])
    return resource_field(pod, container, reference).encode()


_HOST_PATHS: dict[str, Callable[[Path], bool]] = {
    "Directory": Path.is_dir,
    "File": Path.is_file,
    "Socket": Path.is_socket,
}


def _host_path(source: Object, path: Path) -> None:
    kind = source.get("type") or ""
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True)
    elif kind == "FileOrCreate":
        path.touch()
    elif not _HOST_PATHS.get(kind, Path.exists)(path):
        raise VolumeError(f"hostPath type check failed: {path} is not a {kind.lower() or 'path of this machine'}")


def _write(folder: Path, files: dict[str, tuple[bytes, int]]) -> None:
    """Make the folder hold exactly these files, all replaced in one step.

    As a kubelet does it: `..data` links to a folder of this version, and the names link into `..data`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "..data"
    if data.is_symlink() and _read(data) == files:
        return
    version = folder / f"..{time.time_ns()}"
    version.mkdir()
    for path, (content, mode) in files.items():
        target = version / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(mode)
    old = data.resolve() if data.is_symlink() else None
    new = folder / "..data.new"
    new.symlink_to(version.name)
    new.rename(data)
    names = {path.partition("/")[0] for path in files}
    for entry in folder.iterdir():
        if not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()
    for name in names:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    if old:
        shutil.rmtree(old, ignore_errors=True)


def _read(data: Path) -> dict[str, tuple[bytes, int]]:
    """What a version holds: path -> contents and mode."""
    root = data.resolve()
    found = [path for path in root.rglob("*") if path.is_file()]
    return {str(p.relative_to(root)): (p.read_bytes(), stat.S_IMODE(p.stat().st_mode)) for p in found}
