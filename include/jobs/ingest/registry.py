"""The schemas of a registry that speaks Confluent's API, each asked for once by a process."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, TypeVar

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

from include.jobs.lake.errors import JobError

_TIMEOUT_S = 30.0
#: The registry's own code for an id that it does not know; another 404 tells of a wrong address.
_NO_SCHEMA = 40403
#: A producer has a few schemas. More ids that nobody knows are bytes of something else, each of them a request.
_MOST_UNKNOWN = 100
_Answer = TypeVar("_Answer")


class RegistryUnavailableError(JobError):
    """The schema registry does not answer."""


class WrongRegistryError(JobError):
    """The values name schemas of another registry, or none at all."""


class Registry:
    """A schema registry, as far as a topic's values need it; `type` is what all of their schemas are: JSON or AVRO."""

    def __init__(self, settings: Mapping[str, str], schema_type: str) -> None:
        """Open it; `settings` are what `schema_registry` gives. Nothing is asked before a schema is needed."""
        self.url = settings["url"]
        self.type = schema_type
        self._client = SchemaRegistryClient({**settings, "timeout": _TIMEOUT_S})
        self._schemas: dict[int, Schema | None] = {}

    def schema(self, number: int) -> Schema | None:
        """The schema with an id; None where there is none.

        Raises:
            RegistryUnavailableError: the registry does not say.
            WrongRegistryError: it does not know too many of those that were asked for.
        """

        def ask() -> Schema | None:
            try:
                return self._client.get_schema(number)
            except SchemaRegistryError as error:
                if error.error_code != _NO_SCHEMA:
                    raise
                return None

        if number not in self._schemas:
            self._schemas[number] = self._ask(ask)
            if list(self._schemas.values()).count(None) > _MOST_UNKNOWN:
                raise WrongRegistryError(
                    f"schema registry {self.url} does not know {_MOST_UNKNOWN} schemas and more that the values seem "
                    "to name; nothing was staged: check that schema_registry.url in the settings is the producer's "
                    "registry, and that value_format of the topic is how it writes"
                )
        return self._schemas[number]

    def referenced(self, schema: Schema) -> list[str]:
        """The texts of the schemas that one refers to, each after those that it needs itself.

        Raises:
            RegistryUnavailableError: the registry does not say.
        """
        found: list[str] = []
        for reference in schema.references or ():
            version: int | Literal["latest"] = reference.version or "latest"
            needed = self._ask(partial(self._client.get_version, reference.subject or "", version)).schema
            found += [*self.referenced(needed), needed.schema_str or ""]
        return found

    def _ask(self, question: Callable[[], _Answer]) -> _Answer:
        try:
            return question()
        # The client lets through whatever its HTTP library, TLS and JSON raise.
        except Exception as error:
            raise RegistryUnavailableError(
                f"schema registry {self.url} does not answer ({error}); nothing was staged: check that it runs, that "
                "schema_registry.url in the settings is the address of its Confluent API (Apicurio's ends in "
                "/apis/ccompat/v7), and that it lets this client in: the keys schema_registry_* of the Secret "
                "podium-credentials"
            ) from error
