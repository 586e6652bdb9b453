"""Operators, one module for each kind of work: pods, Spark, MPI, serving, rollouts.

What they share lives beside this folder: identity, node pools, pod parts, failure text.
"""
