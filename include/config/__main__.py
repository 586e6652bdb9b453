"""Print the ConfigMap `podium-platform` of an environment: `python -m include.config prod | kubectl apply -f -`."""

import sys

import yaml

from include.config import ConfigError, load_settings


def main() -> int:
    """Print the ConfigMap as YAML; the environment is the argument, else `PODIUM_ENV`, else `local`."""
    try:
        settings = load_settings(sys.argv[1] if len(sys.argv) > 1 else None)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    metadata = {"name": settings.kubernetes.platform_config_map, "namespace": settings.kubernetes.namespace}
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": settings.platform_environment()}
    yaml.safe_dump(manifest, sys.stdout, sort_keys=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
