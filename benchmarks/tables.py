"""Removes a benchmark's events and their quarantine from the lake, every file of them; what is not there is no error.

`python -m benchmarks.tables TABLE…`, in the ingest's environment, with the variables and credentials that a pod finds.
"""

import sys

from pyarrow.fs import FileType

from include.jobs.lake.catalog import open_catalog
from include.jobs.lake.connections import Connections
from include.jobs.lake.pages import folder_of


def main() -> None:
    """Remove those of the command line."""
    connections = Connections.from_environment()
    catalog, files = open_catalog(connections), connections.filesystem()
    for name in (name for table in sys.argv[1:] for name in (table, f"{table}_quarantine")):
        if catalog.table_exists(name):
            location = catalog.load_table(name).location()
            catalog.drop_table(name)
            # PyIceberg's own purge reads every manifest of every snapshot: minutes after a year of commits.
            files.delete_dir(location.removeprefix("s3://"))
            pages = folder_of(connections.warehouse, name).removeprefix("s3://")
            if files.get_file_info(pages).type is not FileType.NotFound:
                files.delete_dir(pages)


if __name__ == "__main__":
    main()
