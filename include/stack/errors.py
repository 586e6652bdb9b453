"""What can go wrong in the platform's own machinery. Each message names what, where and the mend."""


class StackError(Exception):
    """The platform cannot go on; the text is meant for the person at the terminal."""


class PrerequisiteError(StackError):
    """The machine lacks something that only its owner can install."""


class BuildError(StackError):
    """An environment or a folder of jars could not be made."""


class PortInUseError(StackError):
    """A port of the configuration is taken by a process that is not ours."""


class CredentialsError(StackError):
    """The credentials file cannot be read or written."""


class ServiceError(StackError):
    """A service did not start, died for good, or did not stop."""


class Unhealthy(Exception):
    """A health check's verdict: the service does not answer as it should (the text says how)."""


class Undecided(Unhealthy):
    """A health check could not find out, because what it asks does not answer: that is another service's trouble."""
