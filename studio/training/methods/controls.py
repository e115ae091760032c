"""Control models from pictures with maps or features: ControlNet, T2I-Adapter and IP-Adapter, while the UNet rests."""

import json
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers import ControlNetModel, T2IAdapter
from torch import Tensor, nn

from studio.control.ip_adapter import IPAdapter
from studio.engine.attention import AttentionProcessor
from studio.engine.control_sources import open_t2i_adapter, read_ip_adapter
from studio.engine.decoding import as_dtype
from studio.engine.generate import Engine
from studio.engine.modules import copy_part, empty_module
from studio.engine.residency import Sizes
from studio.engine.sources import open_control
from studio.engine.store import Checkpoint, Slot
from studio.library.names import PLANS
from studio.library.rules.control import CONTROL_KIND
from studio.messages import ModelLocation
from studio.training.base import Living
from studio.training.batch import Batch
from studio.training.conditions import ControlNetTraining, IPAdapterTraining, Noisy, T2IAdapterTraining
from studio.training.exporting import FOLDER, SAFETENSORS, Folder, checkpoint_export, origin_of
from studio.training.method import Export
from studio.training.methods.dreambooth import let_go
from studio.training_params import TrainingParams

LIVE = "learning-control"  # stands for the content id of a control model that changes with every step
LARGE = 320  # first width of the UNets that the usual sizes are for
HINT_WIDTHS, SMALL_HINT_WIDTHS = (16, 32, 96, 256), (8, 16, 32, 64)  # of a ControlNet's own way from the map


class Controlling(Living):
    """What the three have in common: a model of their own, lent to the engine for pictures, in a file of its own.

    kind: Of Export. model: What is written.
    """

    kind: str
    model: nn.Module

    def __init__(self, params: TrainingParams, checkpoint: Checkpoint, engine: Engine | None = None) -> None:
        """engine: Where `shown` lends the model to. Raises: InvalidRequestError, for a checkpoint that cannot learn."""
        super().__init__(params, checkpoint)
        self.engine = engine

    def groups(self) -> list[dict[str, Any]]:
        """All that learns, at one rate."""
        learning = [parameter for parameter in self.trained.parameters() if parameter.requires_grad]
        return [{"params": learning, "lr": self.params.learning_rate}]

    @contextmanager
    def lent(self) -> Generator[Mapping[str, Any]]:
        """`models`, with the location that a control unit's model_id names."""
        name, base = self.params.name, self.checkpoint.location.base
        location = ModelLocation(name, LIVE, "", self.kind, base)
        if self.engine is None:
            yield {"models": {LIVE: location}}
            return
        store = self.engine.store
        with as_dtype(self.model, self.unet.dtype):  # as the engine has control models
            store.controls[LIVE] = Slot(self.model, Sizes.of(self.model, store.device), [LIVE])
            store.locations[LIVE] = location
            try:
                yield {"models": {LIVE: location}}
            finally:
                store.controls.pop(LIVE, None)
                store.locations.pop(LIVE, None)

    def exports(self, layout: str = "") -> list[Export]:
        """Layout: diffusers; one file, or for a starter a folder that says what it is. Raises: ValueError."""
        if layout not in ("", "diffusers"):
            raise ValueError(f"a control model is written as diffusers, not as {layout!r}")
        base, kind = self.checkpoint.location.base, self.params.control_kind
        tensors, said = self.tensors(), origin_of(base) | ({CONTROL_KIND: kind} if kind else {})
        if base in PLANS:
            return [Export(self.kind, "diffusers", SAFETENSORS, tensors, said)]
        card = {"base": base} | ({"control_kind": kind} if kind else {})
        files: dict[str, Mapping[str, Any]] = {"config.json": self.config(), "card.json": card}
        named = {f"{self.file}/{name}": tensor for name, tensor in tensors.items()}
        return [Folder(self.kind, "diffusers", FOLDER, named, said, files=files)]

    @property
    def file(self) -> str:
        """The name of the weights in a folder."""
        return "diffusion_pytorch_model"

    def tensors(self) -> dict[str, Tensor]:
        """The model's tensors under the names that its file has."""
        return self.model.state_dict()

    def config(self) -> dict[str, Any]:
        """What a folder says of the model, as plain values."""
        model: Any = self.model
        return json.loads(model.to_json_string())


class ControlNetLearning(Controlling):
    """A ControlNet; with the decoder unlocked a checkpoint comes of it too. Source: Zhang et al., arXiv:2302.05543."""

    kind = "controlnet"

    def __init__(
        self,
        params: TrainingParams,
        checkpoint: Checkpoint,
        engine: Engine | None = None,
        start: ModelLocation | None = None,
    ) -> None:
        """start: A ControlNet to go on from; None begins as the UNet's own encoder, which says nothing at first."""
        super().__init__(params, checkpoint, engine)
        if params.unlocked_decoder:
            self.unet.float()
        self.model = new_controlnet(checkpoint) if start is None else _opened(open_control(start), checkpoint)
        self.training = ControlNetTraining(
            self.unet, self.model, middle_only=params.middle_only, unlocked_decoder=params.unlocked_decoder
        )
        self.trained = self.training.train()
        if params.gradient_checkpointing:
            self.checkpoint_gradients(True)
        if params.unlocked_decoder and engine is not None:
            self.undo.callback(let_go, engine.store, [self.unet])

    def denoise(self, seen: Noisy, batch: Batch) -> Tensor:
        """See `Living.denoise`. Raises: ValueError, for a batch without maps."""
        return self.training(seen, _maps(batch, seen))

    def checkpoint_gradients(self, on: bool) -> None:
        """See `Living.checkpoint_gradients`; the ControlNet's own as well."""
        super().checkpoint_gradients(on)
        if isinstance(model := getattr(self, "model", None), ControlNetModel):
            (model.enable_gradient_checkpointing if on else model.disable_gradient_checkpointing)()

    def exports(self, layout: str = "") -> list[Export]:
        """See `Controlling.exports`; after it the checkpoint whose decoder learned."""
        made = super().exports(layout)
        if self.params.unlocked_decoder:
            made.append(checkpoint_export(self.checkpoint, {"unet": self.unet.state_dict()}, ""))
        return made


class T2IAdapterLearning(Controlling):
    """A T2I-Adapter. Source: Mou et al., arXiv:2302.08453."""

    kind = "t2i_adapter"

    def __init__(
        self,
        params: TrainingParams,
        checkpoint: Checkpoint,
        engine: Engine | None = None,
        start: ModelLocation | None = None,
    ) -> None:
        """start: A T2I-Adapter to go on from."""
        super().__init__(params, checkpoint, engine)
        self.model = new_t2i_adapter(checkpoint) if start is None else _opened(open_t2i_adapter(start), checkpoint)
        self.training = T2IAdapterTraining(self.unet, self.model)
        self.trained = self.model.train()

    def denoise(self, seen: Noisy, batch: Batch) -> Tensor:
        """See `Living.denoise`. Raises: ValueError, for a batch without maps."""
        return self.training(seen, _maps(batch, seen))


class IPAdapterLearning(Controlling):
    """A plain IP-Adapter. Source: Ye et al., arXiv:2308.06721."""

    kind = "ip_adapter"

    def __init__(
        self,
        params: TrainingParams,
        checkpoint: Checkpoint,
        engine: Engine | None = None,
        start: ModelLocation | None = None,
        features: int = 0,
    ) -> None:
        """start: An IP-Adapter to go on from; features: width of the image encoder's projected features, where a new
        one begins. Raises: ValueError, for a new one without that width."""
        super().__init__(params, checkpoint, engine)
        if start is None and not features:
            raise ValueError("a new IP-Adapter needs the width of its image encoder's features")
        made = IPAdapter.beside(self.unet, features) if start is None else read_ip_adapter(start)
        self.model = made.float().to(self.unet.device)
        self.training = IPAdapterTraining(self.unet, self.model)
        self.trained = self.model.train()
        self._heard = ExitStack()
        self.undo.callback(self._heard.close)

    def denoise(self, seen: Noisy, batch: Batch) -> Tensor:
        """See `Living.denoise`. The layers hear of the pictures until the next call: where activations are computed
        again, that is after this one. Raises: ValueError, for a batch without features."""
        if batch.features is None:
            raise ValueError("an IP-Adapter learns from batches with features")
        self._heard.close()
        self._heard.enter_context(self.training.seen(batch.features.to(seen.latents.device)).shown(self.unet))
        return super().denoise(seen, batch)

    @contextmanager
    def lent(self) -> Generator[Mapping[str, Any]]:
        """See `Controlling.lent`."""
        self._heard.close()
        with super().lent() as lent:
            yield lent

    @property
    def file(self) -> str:
        """See `Controlling.file`."""
        return "model"

    def tensors(self) -> dict[str, Tensor]:
        """See `Controlling.tensors`."""
        return self.model.to_state()

    def config(self) -> dict[str, Any]:
        """See `Controlling.config`."""
        tensors = self.tensors()
        width, features = tensors["ip_adapter.1.to_k_ip.weight"].shape[1], tensors["image_proj.proj.weight"].shape[1]
        return {"_class_name": "IPAdapter", "cross_attention_dim": width, "features": [features, 0]}


def new_controlnet(checkpoint: Checkpoint) -> ControlNetModel:
    """The UNet's encoder once more, with a way from maps to its first features, which is silent at first."""
    unet = checkpoint.unet
    widths = HINT_WIDTHS if unet.config.block_out_channels[0] >= LARGE else SMALL_HINT_WIDTHS
    made = ControlNetModel.from_unet(
        unet,
        conditioning_channels=3,
        conditioning_embedding_out_channels=widths[: checkpoint.factor.bit_length()],
    )
    made.set_attn_processor(AttentionProcessor("sdpa"))
    return made.float().to(unet.device)


def new_t2i_adapter(checkpoint: Checkpoint) -> T2IAdapter:
    """One whose features fit the UNet's blocks: a UNet that begins without attention has one level more, and takes the
    first after its first step down, as SDXL's does.

    Source: TencentARC/T2I-Adapter, ldm/modules/encoders/adapter.py, Adapter and Adapter_XL.
    """
    config = checkpoint.unet.config
    widths, plain = list(config.block_out_channels), config.down_block_types[0] == "DownBlock2D"
    made = T2IAdapter(
        in_channels=3,
        channels=[*widths, widths[-1]] if plain else widths,
        num_res_blocks=2,
        downscale_factor=checkpoint.factor * (2 if plain else 1),
        adapter_type="full_adapter_xl" if plain else "full_adapter",
    )
    return made.float().to(checkpoint.unet.device)


def _opened(part: Any, checkpoint: Checkpoint) -> Any:
    """A control model of its own, in fp32, beside whatever the engine has of the same file."""
    made = empty_module(part, checkpoint.unet.device, torch.float32)
    copy_part(part, made)
    if isinstance(made, ControlNetModel):
        made.set_attn_processor(AttentionProcessor("sdpa"))
    return made


def _maps(batch: Batch, seen: Noisy) -> Tensor:
    if batch.maps is None:
        raise ValueError("a control model learns from batches with maps")
    return batch.maps.to(seen.latents)
