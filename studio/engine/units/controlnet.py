"""ControlNets, union models among them: a copy of the UNet's encoder that sees a map at every step."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import ControlNetModel, ControlNetUnionModel, UNet2DConditionModel
from torch import Tensor, nn

from studio.engine.units.unit import Residuals, Setting, StepInput, for_both, keeping, words_kept
from studio.library.control_kinds import UNION_KINDS


@dataclass
class ControlNetUnit:
    """A ControlNet with its map, (1, 3, H, W), 0 to 1. kind: of UNION_KINDS, for a union model.

    What the ControlNet makes of the map does not depend on the step: it is computed once, at the first that is active.
    """

    model: ControlNetModel | ControlNetUnionModel
    map: Tensor
    setting: Setting = field(default_factory=Setting)
    kind: str = ""
    _hint: Tensor | None = field(default=None, init=False)

    @contextmanager
    def attached(self, unet: UNet2DConditionModel) -> Generator[None]:
        """A ControlNet changes no weights; as long as the UNet does, it keeps what its layers make of the words."""
        with keeping(self.model, words_kept(unet)):
            yield

    def contribute(self, step: StepInput, residuals: Residuals) -> None:
        """Run the ControlNet, unless it is off at this step: then nothing is computed."""
        one_sided = step.guided and (self.setting.one_sided or self.model.config.global_pool_conditions)
        down, middle = self._run(step.told() if one_sided else step)
        *said, last = self.setting.weigh([*down, middle])
        if one_sided:
            *said, last = for_both([*said, last])
        residuals.add(said, last)

    def _run(self, step: StepInput) -> tuple[list[Tensor], Tensor]:
        common: dict[str, Any] = {
            "encoder_hidden_states": step.prompt_embeds,
            "added_cond_kwargs": dict(step.added),
            "return_dict": False,
        }
        if isinstance(self.model, ControlNetUnionModel):
            number = UNION_KINDS[self.kind]
            kinds = torch.zeros(len(step.sample), self.model.config.num_control_type).to(step.sample)
            kinds[:, number] = 1
            shown = self.map.to(step.sample).expand(len(step.sample), -1, -1, -1)
            down, middle = self.model(
                step.sample,
                step.timestep,
                controlnet_cond=[shown],
                control_type=kinds,
                control_type_idx=[number],
                conditioning_scale=[1.0],
                **common,
            )
            return list(down), middle
        if self._hint is None:
            self._hint = _embed(self.model, self.map.to(step.sample))
        with _embedded(self.model, self._hint):
            down, middle = self.model(step.sample, step.timestep, controlnet_cond=self._hint, **common)
        return list(down), middle


def _embed(model: ControlNetModel, image: Tensor) -> Tensor:
    """A map as the ControlNet adds it to its first features, (1, C, h, w)."""
    bgr = model.config.controlnet_conditioning_channel_order == "bgr"
    return model.controlnet_cond_embedding(image.flip(1) if bgr else image)


class _Given(nn.Module):
    """In place of layers: what they gave before."""

    def __init__(self, given: Tensor) -> None:
        super().__init__()
        self.given = given

    def forward(self, _anything: Tensor) -> Tensor:
        return self.given


@contextmanager
def _embedded(model: ControlNetModel, hint: Tensor) -> Generator[None]:
    """The model with its map embedded already, until the block ends."""
    layers = model.controlnet_cond_embedding
    model.controlnet_cond_embedding = _Given(hint)
    try:
        yield
    finally:
        model.controlnet_cond_embedding = layers
