"""Tools that make files of files: adapters merged, resized, extracted and respelled, checkpoints merged."""
