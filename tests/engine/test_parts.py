import importlib.util
import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from studio.engine import torchvision_ops
from studio.engine.preview import fit_preview
from studio.engine.schedulers import build_scheduler
from studio.engine.units.unit import Setting, StepInput
from studio.errors import InvalidRequestError
from studio.gallery.infotext import SAMPLERS
from studio.registry import load_registry

CPU = torch.device("cpu")


def test_the_range_of_a_unit_is_diffusers_rule():
    def active(count, start, end):
        blank = torch.zeros(2, 1, 1, 1)
        steps = [StepInput(blank, blank, blank, i, count) for i in range(count)]
        return [step.index for step in steps if Setting(start=start, end=end).on(step)]

    assert active(10, 0.2, 0.5) == [2, 3, 4]
    assert active(20, 0.0, 0.4) == list(range(8))
    assert active(4, 0.3, 0.4) == []


def test_sigmas_that_a_scheduler_cannot_use_are_refused():
    spec = load_registry().schedulers["ddim"]
    with pytest.raises(InvalidRequestError, match="DDIM cannot use 'karras' sigmas") as refused:
        build_scheduler(spec, {}, sigmas="karras")
    assert refused.value.field == "sigmas"


def test_a_scheduler_follows_the_checkpoints_noise_and_the_spacing():
    noise = {"beta_start": 0.001, "beta_schedule": "linear", "timestep_spacing": "trailing", "_class_name": "Whatever"}
    made = build_scheduler(load_registry().schedulers["dpmpp_2m"], noise, sigmas="karras")
    assert (made.config.beta_start, made.config.timestep_spacing) == (0.001, "trailing")
    assert made.config.use_karras_sigmas


def test_labels_are_those_that_other_programs_read():
    for name, spec in load_registry().schedulers.items():
        if name in SAMPLERS:
            assert SAMPLERS[name] == spec.label


def test_the_preview_map_recovers_colours_of_a_linear_autoencoder():
    class Posterior:
        def __init__(self, value):
            self.value = value

        def mode(self):
            return self.value

    class Linear:
        """Encodes by pooling and a fixed invertible mixing of channels."""

        def __init__(self):
            self.device, self.dtype = CPU, torch.float32
            self.config = type("Config", (), {"block_out_channels": (1, 1, 1, 1), "scaling_factor": 0.5})
            self.mix = torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, 0.5], [0.3, 0.0, 1.0], [0.2, 0.2, 0.2]])

        def encode(self, pictures):
            pooled = torch.nn.functional.avg_pool2d(pictures, 8)
            mixed = torch.einsum("lc,bchw->blhw", self.mix, pooled)
            return type("Output", (), {"latent_dist": Posterior(mixed)})

    vae = Linear()
    preview = fit_preview(vae)
    red = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    latents = vae.encode(red).latent_dist.mode() * 0.5
    torch.testing.assert_close(preview.colors(latents[0])[4, 4], torch.tensor([1.0, 0.0, 0.0]), atol=0.02, rtol=0)


def test_a_preview_is_a_jpeg_of_the_latents_aspect(pipe):
    preview = fit_preview(pipe.vae)
    image = Image.open(io.BytesIO(preview.jpeg(torch.zeros(4, 8, 16))))
    assert (image.format, image.size) == ("JPEG", (256, 128))
    assert np.asarray(image).std((0, 1)).max() < 3


def test_operators_are_declared_only_when_they_are_missing(monkeypatch):
    monkeypatch.setattr(torchvision_ops, "missing_ops", lambda: False)
    before = len(torchvision_ops._declared)
    torchvision_ops.declare_ops()
    assert len(torchvision_ops._declared) == before


def test_with_a_torchvision_that_another_torch_built_transformers_still_loads():
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed here")
    code = "import studio.engine, torchvision; from transformers import CLIPImageProcessor; print(CLIPImageProcessor)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_looking_for_the_operators_imports_no_torchvision(monkeypatch, tmp_path):
    (tmp_path / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "_C.so").write_bytes(b"made for another machine")
    spec = importlib.util.spec_from_file_location(
        "torchvision", tmp_path / "__init__.py", submodule_search_locations=[str(tmp_path)]
    )
    monkeypatch.setattr(torchvision_ops.importlib.util, "find_spec", lambda _name: spec)
    assert torchvision_ops.missing_ops()
