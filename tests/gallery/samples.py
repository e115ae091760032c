"""Params and pictures for the tests of the gallery."""

import numpy as np

from studio.messages import RawImage
from studio.params import ControlUnit, GenerationParams

MODEL_ID = "0123456789abcdef" * 4


def params(**changes):
    return GenerationParams(
        **{
            "prompt": "a red house",
            "checkpoint": "starter-desk",
            "checkpoint_id": MODEL_ID,
            "width": 128,
            "height": 96,
            "num_inference_steps": 20,
            "guidance_scale": 7.0,
            "scheduler": "dpmpp_2m",
            "seed": 5,
            **changes,
        }
    )


def control(**changes):
    unit = {"kind": "scribble", "map": "ab" * 32, "model": "controlnet-scribble", "model_id": MODEL_ID}
    return ControlUnit(**{**unit, **changes})


def raw(seed=5, size=(128, 96)):
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return RawImage(width=size[0], height=size[1], rgb=values.tobytes(), seed=seed)
