"""What a run has learned, in numbers and in words: likeness, obedience, drift, copying, and the verdict on them."""
