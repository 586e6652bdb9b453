"""What a pod has on its node: image, environment, volumes, isolation, probes, logs, and commands run inside it.

The kubelet decides when; the processes themselves are in `runtime`.
"""
