"""The model server: KServe's Python server and V1 protocol around a registered ranker.

It needs the model registry at start, and looks there for erasures since; a request is answered from memory.
"""
