"""The starter pack: a procedural world with exact ground truth, and the recipe that trains a miniature Stable Diffusion on it."""
