"""What all suites share. Runs in every environment, so it needs nothing but pytest."""

pytest_plugins = ["tests.services"]
