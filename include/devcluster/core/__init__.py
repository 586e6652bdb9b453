"""The cluster itself: objects and their store, the API, the scheduler, the kubelet. Read this folder first.

What clients send and want to see is in `protocol`, what surrounds a container in `node` and `runtime`.
"""
