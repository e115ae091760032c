"""The ways to train, one a module."""
