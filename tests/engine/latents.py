"""The latents of a generation, as the decoder gets them."""

import torch

from studio.engine import generate


def latents_of(engine, models, monkeypatch, params):
    caught, real = [], generate.decode

    def catch(checkpoint, latents, warnings, **options):
        caught.append(latents)
        return real(checkpoint, latents, warnings, **options)

    with monkeypatch.context() as patch:
        patch.setattr(generate, "decode", catch)
        engine.generate(params, models)
    return torch.cat(caught)


def assert_agree(ours, theirs):
    assert ((ours - theirs).norm() / theirs.norm()).item() <= 1e-4
