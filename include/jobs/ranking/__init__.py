"""Ranking a household's products: features, the model's file format, metrics, the model registry.

What the recommender, the gate and the model server must agree on, once. Plain NumPy; only `source` needs PyIceberg
and only `registry` needs MLflow, so that each image carries no more than it uses.
"""
