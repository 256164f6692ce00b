"""Fixtures for tests of pipelines and of plugins."""
