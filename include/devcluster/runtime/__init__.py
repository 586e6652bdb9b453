"""How a container runs on this machine: its private root, the shim that outlives the server, and its records.

`shim` and `join` run as processes of their own, on the standard library alone.
"""
