"""The starter pack: a drawn world with exact ground truth, and the recipe of a miniature Stable Diffusion of it."""
