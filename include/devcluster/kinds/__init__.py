"""What the built-in kinds look like: fields, types, how lists and maps merge.

`kinds.json` is made from the Go types of `k8s.io/api` by `generate`. Nothing here knows of a store or of requests.
"""
