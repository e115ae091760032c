"""What a run is shown: a dataset in buckets, cached as latents, in an order that follows from numbers alone."""
