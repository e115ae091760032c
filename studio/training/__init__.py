"""Training: objectives, the loop, and what each kind of model that can be trained predicts."""

from studio.importing import uncollected

with uncollected():  # first of all, since studio.engine comes before diffusers and transformers: see torchvision_ops
    import studio.engine.generate  # noqa: F401
