"""The gate: a candidate is held against simple baselines on a month that nobody has learned from.

Refusing is a result, not a failure: the job ends well and says why.
"""
