"""Drift: is an interval's trade still what the champion has learned from?

Statistical tests, feature by feature, against the model's own training snapshot; the outcome is kept in the lake.
"""
