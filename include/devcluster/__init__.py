"""The dev cluster: a local server that speaks the Kubernetes API and runs pods as processes of this machine.

README.md says what it is, what it is not and how it is put together. Nothing here imports jobs, plugins or the stack.
"""
