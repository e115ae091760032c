"""Model files made of model files: what can be made, how it is ordered, and the child processes that make it."""
