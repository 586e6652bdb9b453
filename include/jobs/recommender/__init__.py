"""The recommender's training job: a TensorFlow network that re-ranks a household's earlier products, by Horovod.

Every rank runs the same program; the first one writes checkpoints, logs to MLflow and registers the candidate.
"""
