"""Makes `kinds.json` from the Go types that the API server is built of: `python -m include.devcluster.kinds.generate`.

The struct tags say what no OpenAPI document does: which fields are pointers, which are left out when empty, and their
numbers in protobuf. Needs Go, and its module proxy.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from include.devcluster.protocol.discovery import VERSION

OUT = Path(__file__).with_name("kinds.json")
MODULES = {
    "k8s.io/apimachinery": ("pkg/apis/meta/v1",),
    "k8s.io/api": ("core/v1", "coordination/v1", "scheduling/v1", "policy/v1"),
    "k8s.io/apiextensions-apiserver": ("pkg/apis/apiextensions/v1",),
}
"""Modules and their packages; of two types of one name the first counts."""

ROOTS = (
    "Pod", "Event", "ConfigMap", "Secret", "Service", "ServiceAccount", "PersistentVolumeClaim", "Namespace", "Node", "Lease",  # noqa: E501
    "PriorityClass", "CustomResourceDefinition", "DeleteOptions", "Binding", "Eviction",
)  # fmt: skip
PLAIN = {
    "string": "string", "bool": "bool", "int32": "int32", "int64": "int64", "int": "int64", "float64": "float64",
    "[]byte": "bytes", "resource.Quantity": "quantity", "intstr.IntOrString": "intstr", "metav1.Time": "time", "Time": "time",  # noqa: E501
    "metav1.MicroTime": "microtime", "MicroTime": "microtime", "types.UID": "string", "FieldsV1": "any", "runtime.RawExtension": "any",  # noqa: E501
    "*JSONSchemaProps": "any", "JSONSchemaProps": "any",
}  # fmt: skip
_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.M | re.S)
_NAMED = re.compile(r"^type (\w+) (\S+)$", re.M)
_FIELD = re.compile(r"^\t(?:(?P<name>\w+) )?\s*(?P<type>[\w.*\[\]]+)\s+`(?P<tags>[^`]*)`")
_TAG = re.compile(r'(\w+):"([^"]*)"')


def sources(module: str) -> Path:
    """The folder of a module in the version that goes with the API server's."""
    version = "v0." + VERSION.partition(".")[2]
    done = subprocess.run(
        ["go", "mod", "download", "-json", f"{module}@{version}"], capture_output=True, text=True, check=True
    )
    return Path(json.loads(done.stdout)["Dir"])


class Types:
    """The types of the modules, by their names in Go."""

    def __init__(self) -> None:
        self.structs: dict[str, str] = {}
        self.named: dict[str, str] = {}
        self.markers: dict[str, str] = {}
        for module, packages in MODULES.items():
            for package in packages:
                self._read((sources(module) / package / "types.go").read_text())

    def _read(self, text: str) -> None:
        for match in _STRUCT.finditer(text):
            self.structs.setdefault(match[1], match[2])
            before = text[: match.start()].rsplit("\n\n", 1)[-1]
            self.markers.setdefault(match[1], before)
        for match in re.finditer(r"^type (\w+) struct\{\}$", text, re.M):
            self.structs.setdefault(match[1], "")
        for match in _NAMED.finditer(text):
            if match[2] not in ("struct", "interface", "struct{}"):
                self.named.setdefault(match[1], match[2])

    def describe(self, roots: tuple[str, ...]) -> dict[str, Any]:
        """Every struct that the roots are made of."""
        found: dict[str, Any] = {}
        waiting = list(roots)
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            found[name] = dict(self._fields(name))
            for field in found[name].values():
                inner = re.sub(r"^(\[\]|\{\})+", "", field["type"])
                if inner[:1].isupper():
                    waiting.append(inner)
        return dict(sorted(found.items()))

    def _fields(self, struct: str) -> Iterator[tuple[str, dict[str, Any]]]:
        comment = ""
        for line in self.structs[struct].splitlines():
            if line.strip().startswith("//"):
                comment += line + "\n"
                continue
            if match := _FIELD.match(line):
                yield from self._field(match, comment)
            comment = ""

    def _field(self, match: re.Match[str], comment: str) -> Iterator[tuple[str, dict[str, Any]]]:
        tags = dict(_TAG.findall(match["tags"]))
        name, _, options = tags.get("json", "").partition(",")
        if options == "inline":
            inline = match["type"].rpartition(".")[2]
            if inline != "TypeMeta":
                yield from self._inline(inline, tags.get("protobuf", ""))
            return
        pointer, go = match["type"].startswith("*"), match["type"].lstrip("*")
        made: dict[str, Any] = {"type": self._type(go), "go": self._go_name(go)}
        if "protobuf" in tags:
            made["number"] = int(tags["protobuf"].split(",")[1])
        if pointer:
            made["pointer"] = True
        if "omitempty" in options:
            made["omit"] = True
        if "omitzero" in options:
            made["omitzero"] = True
        if "patchStrategy" in tags:
            made["strategy"] = tags["patchStrategy"]
        if "patchMergeKey" in tags:
            made["merge"] = tags["patchMergeKey"]
        made |= _markers(comment)
        struct = made["type"].removeprefix("[]")
        if "+structType=atomic" in self.markers.get(struct, ""):
            made["atomicItems" if made["type"].startswith("[]") else "atomic"] = True
        yield name, made

    def _inline(self, struct: str, protobuf: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Fields of an embedded struct; in protobuf they are a message of their own."""
        number = int(protobuf.split(",")[1]) if protobuf else None
        for name, field in self._fields(struct):
            yield name, {**field, **({"inline": number} if number else {}), "owner": struct}

    def _type(self, go: str) -> str:
        if go in PLAIN:
            return PLAIN[go]
        if go.startswith("[]"):
            return "[]" + self._type(go[2:])
        if match := re.fullmatch(r"map\[[\w.]+\](.+)", go):
            return "{}" + self._type(match[1])
        short = go.rpartition(".")[2]
        if short in self.named:
            return self._type(self.named[short])
        if short not in self.structs:
            raise SystemExit(f"{go} is not known: add it to PLAIN or its package to MODULES")
        return short

    def _go_name(self, go: str) -> str:
        """As messages of Go's decoder name it: `[]v1.EnvVar`, `map[string]string`, `v1.PodPhase`."""
        if go in ("string", "bool", "int32", "int64", "float64"):
            return go
        if go == "[]byte":
            return "[]uint8"
        if go.startswith("[]"):
            return "[]" + self._go_name(go[2:])
        if match := re.fullmatch(r"map\[([\w.]+)\](.+)", go):
            return f"map[{self._go_name(match[1])}]{self._go_name(match[2])}"
        package, _, short = go.rpartition(".")
        return go if package in ("types", "resource", "intstr") else f"v1.{short}"


def _markers(comment: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if match := re.search(r"\+listType=(\w+)", comment):
        found["list"] = match[1]
    if keys := re.findall(r"\+listMapKey=(\w+)", comment):
        found["keys"] = keys
    if "+mapType=atomic" in comment or "+structType=atomic" in comment:
        found["atomic"] = True
    if match := re.search(r"\+default=(.+)", comment):
        with contextlib.suppress(ValueError):  # a reference to a Go constant is none of JSON
            found["default"] = json.loads(match[1].strip())
    return found


def main() -> None:
    """Write the file."""
    described = Types().describe(ROOTS)
    lines = [f" {json.dumps(name)}: {{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in fields.items()) + "\n }"  # noqa: E501
             for name, fields in described.items()]  # fmt: skip
    OUT.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
