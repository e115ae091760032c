"""Params for tests that need no torch."""

from studio.params import GenerationParams


def params(**changed: object) -> GenerationParams:
    plain = {
        "prompt": "a cat",
        "checkpoint": "tiny",
        "checkpoint_id": "id-tiny",
        "width": 64,
        "height": 64,
        "num_inference_steps": 4,
        "guidance_scale": 5.0,
        "scheduler": "ddim",
        "seed": 3,
    }
    return GenerationParams(**plain | changed)
