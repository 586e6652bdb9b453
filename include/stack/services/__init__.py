"""One module a service: its command, environment, ports, health check, and how its data is first made.

A module knows its own service only; `catalogue` puts them together.
"""
