"""The generation process: the only one that imports torch."""
