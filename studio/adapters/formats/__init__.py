"""The algorithms that adapters are made with: one module each, from a file's tensors of a layer to its change."""
