"""A small CLIP: a picture and its caption near each other. It reads pictures for the IP-Adapter and scores prompts."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTextModel, CLIPTokenizer, CLIPVisionConfig

from studio.starter.data import Scenes
from studio.starter.text import tokenize
from studio.starter.unet import Words, load_snapshot
from studio.training import ranks
from studio.training.loop import Plan, Run

FEATURES, SIDE = 192, 64
MEAN, SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of OpenAI's CLIP


def new_clip(encoder: CLIPTextModel) -> CLIPModel:
    """Pictures of 64 px in patches of 8, width 128, 4 layers; words as the pack's own encoder reads them."""
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=8,
        projection_dim=FEATURES,
    )
    text = encoder.config.to_dict() | {"projection_dim": FEATURES}
    config = CLIPConfig(text_config=text, vision_config=vision.to_dict(), projection_dim=FEATURES)
    clip = CLIPModel(config)
    clip.text_model.load_state_dict(
        {name.removeprefix("text_model."): value for name, value in encoder.state_dict().items()}, strict=False
    )
    return clip


def pixels(images: np.ndarray) -> Tensor:
    """(N, side, side, 3) bytes as the image encoder takes them, (N, 3, 64, 64)."""
    shown = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255
    shown = F.interpolate(shown, size=(SIDE, SIDE), mode="area")
    return (shown - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(SPREAD).view(3, 1, 1)


def train_clip(work: Path, plan: Plan) -> None:
    """Train on scenes and captions that say everything told of them; writes work/clip and each scene's features."""
    scenes, held = Scenes.open(work / "train"), Scenes.open(work / "held-out")
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer", local_files_only=True)
    clip = new_clip(load_snapshot(work)[1])
    clip.text_model.requires_grad_(False)  # its last layers say what the denoiser hears
    clip.text_model.encoder.layers[-1].requires_grad_(True)
    clip.text_model.final_layer_norm.requires_grad_(True)
    run = Run(plan, clip, work / "runs" / "clip")
    words = Words(tokenizer, scenes)
    count = min(200, len(held))
    asked = tokenize(tokenizer, [texts[0] for texts in held.captions[:count]])

    def loss_of(_share: float) -> Tensor:
        rows = np.sort(run.rng.choice(len(scenes), plan.batch, replace=False))
        shown = pixels(scenes.images[rows])
        shown = shown + torch.randn_like(shown) * 0.1 * run.rng.random()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            said = clip(input_ids=words.draw(rows, 0.0), pixel_values=shown)
        return contrast(said.image_embeds.float(), said.text_embeds.float(), clip.logit_scale)

    def evaluate() -> dict[str, float]:
        said = clip(input_ids=asked, pixel_values=pixels(held.images[:count]))
        best = (said.image_embeds @ said.text_embeds.T).argmax(1)
        return {f"found of {count}": round((best == torch.arange(count)).float().mean().item(), 3)}

    run.train(loss_of, evaluate)
    if ranks.RANK == 0:
        with run.averaged_weights():
            clip.save_pretrained(work / "clip")
            embed_scenes(clip, scenes, work / "train" / "features.npy")


def embed_scenes(clip: CLIPModel, scenes: Scenes, file: Path) -> None:
    """Write what the image encoder makes of every scene: (N, D), fp32."""
    found = [
        clip.visual_projection(clip.vision_model(pixel_values=pixels(scenes.images[start : start + 256])).pooler_output)
        for start in range(0, len(scenes), 256)
    ]
    np.save(file, torch.cat(found).detach().numpy())


def contrast(pictures: Tensor, texts: Tensor, logit_scale: Tensor) -> Tensor:
    """Each picture should find its caption among the batch's, and each caption its picture: a scalar.

    pictures, texts: (N, D), of length one. Source: Radford et al., arXiv:2103.00020.
    """
    logits = pictures @ texts.T * logit_scale.exp().clamp(max=100)
    own = torch.arange(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
