"""What the API server refuses, in its words: the rules that no schema holds, as tables by type and field.

`formats` are the forms of names, `rules` the kinds of rules and the walk over an object; the tables are in `pods`,
`containers`, `volumes`, `scheduling`, `services` and `others`. Source of the rules: `pkg/apis/*/validation` of
k8s.io/kubernetes and https://kubernetes.io/docs/reference/kubernetes-api/. Nothing here knows of a store.
"""
