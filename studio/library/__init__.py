"""Model files: what they are, where they lie, and which fit together."""
