"""The ControlNets and T2I-Adapters, trained beside the frozen denoiser, for drawings, edges, depth, segments, poses."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel, T2IAdapter, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from studio.starter import maps
from studio.starter.data import DRAWINGS, Scenes
from studio.starter.unet import Words, load_snapshot, new_objective
from studio.training import ranks
from studio.training.conditions import ControlNetTraining, Noisy, T2IAdapterTraining
from studio.training.loop import Plan, Run
from studio.training.objective import Objective

UNSAID, MISTOLD = 0.5, 0.5
GAIN = 1.4  # how much stronger some ControlNets are than trained; assets/starter/README.md says how that was chosen
STRONGER = ("controlnet-scribble", "controlnet-segments")

MapOf = Callable[[Scenes, int, random.Random], np.ndarray]
MAPS: dict[str, MapOf] = {
    "scribble": lambda scenes, row, rng: scenes.drawings[row, rng.randrange(DRAWINGS)],
    "edges": lambda scenes, row, rng: maps.varied_edge_map(np.asarray(scenes.images[row]), rng),
    "depth": lambda scenes, row, rng: maps.varied_depth_map(np.asarray(scenes.depths[row]), rng),
    "segments": lambda scenes, row, rng: maps.varied_segment_map(np.asarray(scenes.segments[row]), rng),
    "pose": lambda scenes, row, _rng: maps.pose_map(scenes.people[row], scenes.images.shape[1]),
}


class MapBatches:
    """Batches of scenes with maps of one kind; for poses, of the scenes in which somebody stands."""

    def __init__(self, work: Path, kind: str) -> None:
        self.work, self.scenes, self.kind = work, Scenes.open(work / "train"), kind
        self.latents = np.load(work / "train" / "latents.npy", mmap_mode="r")
        self.rows = np.array([row for row, people in enumerate(self.scenes.people) if people or kind != "pose"])

    def draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, Tensor, Tensor]:
        """Row numbers, clean latents (N, 4, h, w), and maps (N, 3, H, W), 0 to 1."""
        rows = np.sort(rng.choice(self.rows, count))
        hand = random.Random(int(rng.integers(2**62)))
        made = [MAPS[self.kind](self.scenes, int(row), hand) for row in rows]
        return rows, torch.from_numpy(self.latents[rows].astype(np.float32)), map_tensor(made)


def train_control(work: Path, plan: Plan, kind: str = "scribble") -> None:
    """Train the ControlNet of one kind of map; writes work/controlnet-KIND.

    So that the map decides, every other caption is left unsaid, and in every other left and right are exchanged. All
    but the first begin as the scribble ControlNet, where there is one: it has learned to see, and the map is new.
    """
    unet, encoder = load_snapshot(work)
    control = begin(work, kind, unet)
    run = Run(plan, control, work / "runs" / (kind if kind != "scribble" else "control"))
    learn_maps(run, MapBatches(work, kind), ControlNetTraining(unet, control), encoder, new_objective())
    if ranks.RANK == 0:
        with run.averaged_weights():
            control.save_pretrained(work / f"controlnet-{kind}")


def train_t2i_adapter(work: Path, plan: Plan, kind: str) -> None:
    """Train the T2I-Adapter of one kind of map; writes work/t2i-adapter-KIND."""
    unet, encoder = load_snapshot(work)
    torch.manual_seed(0)
    adapter = T2IAdapter(
        in_channels=3,
        channels=[64, 128, 192, 192],
        num_res_blocks=2,
        downscale_factor=16,
        adapter_type="full_adapter_xl",
    )
    run = Run(plan, adapter, work / "runs" / f"t2i-{kind}")
    learn_maps(
        run, MapBatches(work, kind), T2IAdapterTraining(unet, adapter), encoder, new_objective(timesteps="cubic")
    )
    if ranks.RANK == 0:
        with run.averaged_weights():
            adapter.save_pretrained(work / f"t2i-adapter-{kind}")


def learn_maps(
    run: Run, batches: "MapBatches", training: nn.Module, encoder: CLIPTextModel, objective: Objective
) -> None:
    """Train until the run's plan is done: scenes with their maps, and captions that half of the time tell little."""
    encoder.requires_grad_(False)
    tokenizer = CLIPTokenizer.from_pretrained(batches.work / "tokenizer", local_files_only=True)
    words = Words(tokenizer, batches.scenes)

    def loss_of(_share: float) -> Tensor:
        rows, clean, drawn = batches.draw(run.rng, run.plan.batch)
        timesteps, noise, noisy = objective.sample(clean)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with torch.no_grad():
                said = encoder(words.draw(rows, UNSAID, mistold=MISTOLD))[0]
            predicted = training(Noisy(noisy, timesteps, said), drawn).float()
        return objective.loss(predicted, noise, timesteps)

    run.train(loss_of)


def begin(work: Path, kind: str, unet: UNet2DConditionModel) -> ControlNetModel:
    """A ControlNet to train: the UNet's encoder, or the scribble ControlNet for the kinds that come after it."""
    torch.manual_seed(0)
    first = work / "controlnet-scribble"
    if kind != "scribble" and first.exists():
        return ControlNetModel.from_pretrained(first)
    return ControlNetModel.from_unet(unet, conditioning_channels=3, conditioning_embedding_out_channels=(8, 16, 32, 64))


def map_tensor(drawn: Sequence[np.ndarray] | np.ndarray) -> Tensor:
    """N maps, (h, w) or (h, w, 3) bytes, as (N, 3, h, w), 0 to 1."""
    shown = torch.from_numpy(np.stack(list(drawn))).float() / 255
    return shown[:, None].expand(-1, 3, -1, -1) if shown.ndim == 3 else shown.permute(0, 3, 1, 2)


@torch.no_grad()
def strengthen(control: ControlNetModel, gain: float) -> None:
    """Let what the ControlNet adds weigh so many times as much, as a conditioning_scale would."""
    for layer in (*control.controlnet_down_blocks, control.controlnet_mid_block):
        for parameter in layer.parameters():
            parameter.mul_(gain)
