"""The settings of the environment this process runs in, read once for each process."""

from functools import cache

from include.config import Settings, load_settings


@cache
def settings() -> Settings:
    """The settings of `PODIUM_ENV`.

    Parsers and tasks are short-lived forks, so that an edited file takes effect at the next parse.

    :raises include.config.ConfigError: they are invalid.
    """
    return load_settings()
