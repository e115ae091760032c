"""From a handful of pictures and a few words to a training run: each setting with its reason and its source."""
