"""The text encoder, and what it learns from captions alone before it meets a picture."""

import logging
import random
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from studio.starter.captions import caption
from studio.starter.spec import BACKGROUNDS, COLORS, KINDS, POSES, Spec, sample_spec
from studio.training import ranks
from studio.training.loop import Plan, Run

log = logging.getLogger("studio.starter")
WIDTH = 192
PLACES, TONES = {"left": 0, "middle": 1, "": 1, "right": 2}, list(COLORS)
BOUND = len(KINDS) * len(COLORS)
SLOT = len(KINDS) + len(COLORS)
TARGETS = BOUND + 3 * SLOT + len(POSES) + len(BACKGROUNDS) + len(COLORS)


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Width 192, 3 layers, 4 heads, 32 positions: 1.5 M parameters."""
    torch.manual_seed(0)
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            hidden_act="quick_gelu",
            projection_dim=WIDTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Token ids, (N, 32), padded with the end token."""
    return tokenizer(
        captions, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    ).input_ids


def attributes(spec: Spec) -> np.ndarray:
    """What a caption tells, as 0 and 1: kind with colour, kind and colour at each place, poses, background."""
    told = np.zeros(TARGETS, np.float32)
    for index, thing in enumerate(spec.things):
        kind, color = KINDS.index(thing.kind), TONES.index(thing.color)
        told[kind * len(COLORS) + color] = 1
        slot = BOUND + SLOT * (2 * index if len(spec.things) == 2 else PLACES[spec.side])
        told[[slot + kind, slot + len(KINDS) + color]] = 1
        if thing.pose:
            told[BOUND + 3 * SLOT + POSES.index(thing.pose)] = 1
    ground = BOUND + 3 * SLOT + len(POSES)
    told[ground + BACKGROUNDS.index(spec.background)] = 1
    if spec.plain:
        told[ground + len(BACKGROUNDS) + TONES.index(spec.plain)] = 1
    return told


def pretrain_text(work: Path, plan: Plan) -> None:
    """Teach the encoder to tell the whole scene at the end token and at every pad after it; writes work/text_encoder.

    Stable Diffusion attends to the pads too, so each of them must know the sentence.
    """
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer", local_files_only=True)
    rng = random.Random(9)
    specs = [sample_spec(rng) for _ in range(12_000)]
    ids = tokenize(tokenizer, [caption(spec, rng) for spec in specs for _ in range(2)])
    targets = torch.from_numpy(np.stack([attributes(spec) for spec in specs])).repeat_interleave(2, 0)
    model = nn.ModuleDict({"encoder": new_text_encoder(tokenizer), "head": nn.Linear(WIDTH, TARGETS)})
    nn.init.constant_(model["head"].bias, -3.0)
    run = Run(plan, model, work / "runs" / "text")
    held = 500

    def logits(rows: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = model["encoder"](rows)[0]
        return model["head"](hidden.float())

    def loss_of(_share: float) -> Tensor:
        rows = torch.randint(0, len(ids) - held, (plan.batch,))
        tells = (ids[rows] == tokenizer.eos_token_id).float()
        wanted = targets[rows][:, None].expand(-1, ids.shape[1], -1)
        error = F.binary_cross_entropy_with_logits(logits(ids[rows]), wanted, reduction="none").sum(2)
        return (error * tells).sum() / tells.sum()

    def evaluate() -> dict[str, float]:
        told, wanted = logits(ids[-held:])[:, -1] > 0, targets[-held:] > 0.5
        hits = (told & wanted).sum().item()
        return {"recall": round(hits / wanted.sum().item(), 3), "precision": round(hits / max(1, told.sum().item()), 3)}

    run.train(loss_of, evaluate)
    if ranks.RANK == 0:
        with run.averaged_weights():
            model["encoder"].save_pretrained(work / "text_encoder")
