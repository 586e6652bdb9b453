"""What the gateway serves of an HTTPRoute (gateway.networking.k8s.io/v1); anything else is refused by name.

https://gateway-api.sigs.k8s.io/reference/spec/#httproute. Values are checked as strictly as Envoy asks for: it takes
the routes of everybody or of nobody, so one that it refuses would hold up all others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from include.devcluster.controllers.objects import Manifest

GROUP = "gateway.networking.k8s.io"

Path = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9/._~%!$&'()*+,;=:@-]*$")]
Hostname = Annotated[str, StringConstraints(pattern=r"^(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*$")]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", to_lower=True)]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[!-~]([\t -~]*[!-~])?$")]
Duration = Annotated[str, StringConstraints(pattern=r"^([0-9]{1,5}(h|m|s|ms)){1,4}$")]
UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class Part(BaseModel):
    """A part of the spec; a field that it does not have is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class ParentRef(Part):
    """A Gateway that the route asks to be attached to."""

    group: str = GROUP
    kind: str = "Gateway"
    namespace: str = ""
    name: str
    section_name: str = ""
    port: int = 0


class ServiceRef(Part):
    """A Service."""

    group: str = ""
    kind: str = "Service"
    namespace: str = ""
    name: str
    port: int = 0


class BackendRef(ServiceRef):
    """A Service, and its share of the requests: ``weight`` over the sum of all weights of the rule."""

    weight: int = Field(default=1, ge=0, le=1_000_000)


class PathMatch(Part):
    """A path, or the elements that it begins with."""

    type: Literal["PathPrefix", "Exact"] = "PathPrefix"
    value: Path = "/"


class HeaderMatch(Part):
    """A header and the value that it must have."""

    type: Literal["Exact"] = "Exact"
    name: HeaderName
    value: HeaderValue


class Match(Part):
    """Conditions that must all hold."""

    path: PathMatch = PathMatch()
    headers: tuple[HeaderMatch, ...] = ()


class Fraction(Part):
    """A share of the requests."""

    numerator: int = Field(ge=0)
    denominator: int = Field(default=100, ge=1)

    @model_validator(mode="after")
    def _at_most_one(self) -> Self:
        if self.numerator > self.denominator:
            raise ValueError("numerator must not exceed denominator")
        return self


class Mirror(Part):
    """Copies of a share of the requests, whose answers nobody sees; of all of them by default."""

    backend_ref: ServiceRef
    percent: int | None = Field(default=None, ge=0, le=100)
    fraction: Fraction | None = None

    @model_validator(mode="after")
    def _one_share(self) -> Self:
        if self.percent is not None and self.fraction is not None:
            raise ValueError("set percent or fraction, not both")
        return self

    @property
    def share(self) -> float:
        """From 0 to 1."""
        if self.fraction is not None:
            return self.fraction.numerator / self.fraction.denominator
        return 1.0 if self.percent is None else self.percent / 100


class PathRewrite(Part):
    """The matched prefix gives way to another."""

    type: Literal["ReplacePrefixMatch"]
    replace_prefix_match: Path | Literal[""]


class Rewrite(Part):
    """What the request's URL becomes."""

    path: PathRewrite


class Header(Part):
    """A header to set or add."""

    name: HeaderName
    value: HeaderValue

    @field_validator("name")
    @classmethod
    def _not_the_host(cls, value: str) -> str:
        if value == "host":
            raise ValueError("the Host header cannot be changed by a RequestHeaderModifier")
        return value


class HeaderChange(Part):
    """Headers of the request on its way to the backend."""

    set: tuple[Header, ...] = ()
    add: tuple[Header, ...] = ()
    remove: tuple[HeaderName, ...] = ()

    @field_validator("remove")
    @classmethod
    def _keep_the_host(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "host" in value:
            raise ValueError("the Host header cannot be removed")
        return value


class MirrorFilter(Part):
    """RequestMirror."""

    type: Literal["RequestMirror"]
    request_mirror: Mirror


class RewriteFilter(Part):
    """URLRewrite."""

    type: Literal["URLRewrite"]
    url_rewrite: Rewrite


class HeaderFilter(Part):
    """RequestHeaderModifier."""

    type: Literal["RequestHeaderModifier"]
    request_header_modifier: HeaderChange


class Timeouts(Part):
    """How long the client may wait for an answer; ``0s``: for ever."""

    request: Duration = ""

    @property
    def request_s(self) -> float | None:
        """In seconds, ``None`` when the gateway decides."""
        parts = re.findall(r"([0-9]+)(ms|h|m|s)", self.request)
        return sum(int(number) * UNITS_S[unit] for number, unit in parts) if parts else None


class Rule(Part):
    """Which requests (any of the matches), and what becomes of them."""

    name: str = ""
    matches: tuple[Match, ...] = (Match(),)
    filters: tuple[Annotated[MirrorFilter | RewriteFilter | HeaderFilter, Field(discriminator="type")], ...] = ()
    backend_refs: tuple[BackendRef, ...] = ()
    timeouts: Timeouts = Timeouts()

    @field_validator("matches")
    @classmethod
    def _everything(cls, value: tuple[Match, ...]) -> tuple[Match, ...]:
        return value or (Match(),)

    @model_validator(mode="after")
    def _can_be_served(self) -> Self:
        kinds = [f.type for f in self.filters if f.type != "RequestMirror"]
        if len(set(kinds)) != len(kinds):
            raise ValueError("a filter other than RequestMirror may stand in a rule once")
        if self.rewrite and [match.path.type for match in self.matches] != ["PathPrefix"]:
            raise ValueError("ReplacePrefixMatch goes with exactly one match, whose path is a PathPrefix")
        return self

    @property
    def mirrors(self) -> tuple[Mirror, ...]:
        """Who gets copies."""
        return tuple(f.request_mirror for f in self.filters if isinstance(f, MirrorFilter))

    @property
    def rewrite(self) -> PathRewrite | None:
        """What the matched prefix becomes."""
        return next((f.url_rewrite.path for f in self.filters if isinstance(f, RewriteFilter)), None)

    @property
    def headers(self) -> HeaderChange:
        """What is changed of the request's headers."""
        changes = (f.request_header_modifier for f in self.filters if isinstance(f, HeaderFilter))
        return next(changes, HeaderChange())


class _Outside(Part):
    parent_refs: tuple[ParentRef, ...] = ()
    hostnames: tuple[Hostname, ...] = ()
    rules: tuple[Any, ...] = ()


@dataclass(frozen=True)
class RouteSpec:
    """An HTTPRoute's spec: the rules that can be served, by their place, and what is wrong with the others."""

    hostnames: tuple[str, ...] = ()
    rules: tuple[tuple[int, Rule], ...] = ()
    problems: tuple[str, ...] = ()


def parse(route: Manifest) -> RouteSpec:
    """Read a route; what cannot be served is told in ``problems``, by the path of its field."""
    try:
        outside = _Outside.model_validate(route["spec"])
    except ValidationError as error:
        return RouteSpec(problems=told(error, "spec"))
    rules: list[tuple[int, Rule]] = []
    problems: list[str] = []
    for place, content in enumerate(outside.rules):
        try:
            rules.append((place, Rule.model_validate(content)))
        except ValidationError as error:
            problems += told(error, f"spec.rules[{place}]")
    return RouteSpec(outside.hostnames, tuple(rules), tuple(problems))


def told(error: ValidationError, root: str) -> tuple[str, ...]:
    """Each error with the path of its field."""
    found = []
    for each in error.errors():
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in _steps(each["loc"]))
        what = "is not served by this gateway" if each["type"] == "extra_forbidden" else each["msg"]
        found.append(f"{root}{path}: {what.removeprefix('Value error, ')}")
    return tuple(found)


def _steps(location: tuple[int | str, ...]) -> list[int | str]:
    """Without the names of filter types, which pydantic puts between a filter's place and its field."""
    types = {"RequestMirror", "URLRewrite", "RequestHeaderModifier"}
    return [step for step in location if step not in types]
