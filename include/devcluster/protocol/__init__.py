"""What the Kubernetes API asks of a server beside storing objects: patches, ownership of fields, tables, discovery.

Nothing here knows of nodes or processes, and nothing waits.
"""
