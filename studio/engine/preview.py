"""A cheap look at latents: colours by a linear map, fitted once to the checkpoint's own autoencoder."""

from dataclasses import dataclass
from io import BytesIO

import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

SHOWN = 256
PATTERNS, SIDE = 6, 16


@dataclass(frozen=True)
class PreviewMap:
    """weights (5, 3): rows for 4 latent channels and a constant; columns for red, green and blue, 0 to 1."""

    weights: Tensor

    def colors(self, latents: Tensor) -> Tensor:
        """(C, h, w) scaled latents to (h, w, 3), 0 to 1."""
        flat = latents.detach().float().cpu().flatten(1).T
        shown = torch.cat([flat, torch.ones(len(flat), 1)], 1) @ self.weights
        return shown.clamp(0, 1).view(*latents.shape[1:], 3)

    def picture(self, latents: Tensor) -> Image.Image:
        """The latents as a picture, its longer side SHOWN pixels."""
        small = Image.fromarray((self.colors(latents) * 255).round().to(torch.uint8).numpy())
        factor = SHOWN / max(small.size)
        return small.resize((round(small.width * factor), round(small.height * factor)), Image.Resampling.BICUBIC)

    def jpeg(self, latents: Tensor) -> bytes:
        """The picture as a JPEG file."""
        out = BytesIO()
        self.picture(latents).save(out, "JPEG", quality=80)
        return out.getvalue()


@torch.inference_mode()
def fit_preview(vae: AutoencoderKL) -> PreviewMap:
    """Encode coloured patches and solve for the map from latents to colours by least squares."""
    rng = torch.Generator().manual_seed(0)
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    patches = torch.rand(PATTERNS, 3, SIDE // 4, SIDE // 4, generator=rng)
    pictures = F.interpolate(patches, size=(SIDE * factor, SIDE * factor), mode="nearest")
    latents = vae.encode((pictures * 2 - 1).to(vae.device, vae.dtype)).latent_dist.mode() * vae.config.scaling_factor
    inner = F.avg_pool2d(pictures, factor).permute(0, 2, 3, 1).reshape(-1, 3)
    given = latents.float().cpu().permute(0, 2, 3, 1).reshape(len(inner), -1)
    given = torch.cat([given, torch.ones(len(given), 1)], 1)
    return PreviewMap(torch.linalg.lstsq(given, inner, driver="gelsd").solution.clone())
