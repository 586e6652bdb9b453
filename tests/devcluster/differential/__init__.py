"""Requests that are sent to the dev cluster and to a real API server, whose answers are held against each other.

`requests/` says what is asked, `recorded/` what a real cluster answered, `exceptions` where the two may differ and why.
Add a request, then record it anew: `python -m tests.devcluster.differential --kubeconfig FILE`.
"""
