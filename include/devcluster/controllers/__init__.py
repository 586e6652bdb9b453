"""Controllers of the dev cluster: SparkApplication, MPIJob and InferenceService become pods.

They talk to the Kubernetes API alone, so they run against the dev cluster and against a real API server alike.
Nothing here knows how a pod is run, and nothing here may import the dev cluster's own modules.
"""
