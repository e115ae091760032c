"""Training: objectives, the loop, and what each kind of model that can be trained predicts."""

import studio.engine  # noqa: F401  (before any module here loads diffusers or transformers: see torchvision_ops)
