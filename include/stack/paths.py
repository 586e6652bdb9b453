"""Where things are: the checkout, the state folder of the platform, and the cache.

`PODIUM_HOME` moves the state folder (default `build/platform` in the checkout), `PODIUM_CACHE` the cache (default
`$XDG_CACHE_HOME/podium`, else `~/.cache/podium`). Nothing else is written. Standard library only.
"""

import os
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Paths:
    """The folders of one platform; none of them need exist yet."""

    checkout: Path
    home: Path
    cache: Path

    @classmethod
    def from_environment(cls) -> "Paths":
        """The folders that `PODIUM_HOME` and `PODIUM_CACHE` name, or their defaults."""
        cache_root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cls(
            checkout=CHECKOUT,
            home=Path(os.environ.get("PODIUM_HOME") or CHECKOUT / "build" / "platform").expanduser().absolute(),
            cache=Path(os.environ.get("PODIUM_CACHE") or cache_root / "podium").expanduser().absolute(),
        )

    @property
    def data(self) -> Path:
        """The services' own data, one folder each."""
        return self.home / "data"

    @property
    def logs(self) -> Path:
        """Every log of the platform."""
        return self.home / "logs"

    @property
    def run(self) -> Path:
        """Files that `up` writes and that may be deleted while the platform is down."""
        return self.home / "run"

    @property
    def credentials(self) -> Path:
        """The generated credentials, mode 0600."""
        return self.home / "credentials.json"

    @property
    def kubeconfig(self) -> Path:
        """Written by the dev cluster when it starts, mode 0600."""
        return self.home / "kubeconfig"

    @property
    def devcluster_config(self) -> Path:
        """The dev cluster's configuration, written by `up`."""
        return self.home / "devcluster.yaml"

    @property
    def serving_header(self) -> Path:
        """What requests to the models must show, as `curl -H @file` takes it, mode 0600."""
        return self.run / "serving.header"

    @property
    def gateway(self) -> Path:
        """Envoy's dynamic configuration, written by the InferenceService controller."""
        return self.home / "gateway"
