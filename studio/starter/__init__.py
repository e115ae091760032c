"""The starter pack: a drawn world with exact ground truth, and the recipe of a miniature Stable Diffusion of it."""

import studio.engine  # noqa: F401  (before any module here loads diffusers or transformers: see torchvision_ops)
