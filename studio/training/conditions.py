"""What a denoiser predicts with a condition in training: a ControlNet, T2I-Adapter or IP-Adapter beside a UNet."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from diffusers import ControlNetModel, T2IAdapter, UNet2DConditionModel
from torch import Tensor, nn

from studio.control.ip_adapter import IPAdapter, cross_attention_layers
from studio.engine.attention import PictureKeys, split_heads
from studio.engine.units.unit import Residuals


@dataclass(frozen=True)
class Noisy:
    """A batch as the denoiser sees it. latents: (N, C, h, w); timesteps: (N,); words: (N, L, D).

    added: What SDXL is told beside the words: text_embeds (N, D') and time_ids (N, 6); empty for others.
    """

    latents: Tensor
    timesteps: Tensor
    words: Tensor
    added: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])


class ControlNetTraining(nn.Module):
    """A ControlNet learning beside a UNet whose weights stay as they are.

    Args:
        unet: Its parameters are frozen, but for the decoder's if that is unlocked.
        middle_only: Let the ControlNet speak in the middle block alone, which small data and short training suit.
        unlocked_decoder: Train the UNet's up blocks too.
    Source: Zhang et al., arXiv:2302.05543; middle_only and unlocked_decoder are the authors' only_mid_control and
        sd_locked=False.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        control: ControlNetModel,
        *,
        middle_only: bool = False,
        unlocked_decoder: bool = False,
    ) -> None:
        super().__init__()
        unet.requires_grad_(False)
        self.control = control.requires_grad_(True)
        if middle_only:
            for parameter in control.controlnet_down_blocks.parameters():
                nn.init.zeros_(parameter.requires_grad_(False))
        self.decoder = unet.up_blocks.requires_grad_(True) if unlocked_decoder else None
        self._unet = (unet,)  # in a tuple, so that its weights are not taken for this module's

    def forward(self, noisy: Noisy, maps: Tensor) -> Tensor:
        """The predicted noise, (N, C, h, w), with maps (N, 3, H, W), 0 to 1."""
        down, middle = self.control(
            noisy.latents,
            noisy.timesteps,
            noisy.words,
            controlnet_cond=maps,
            added_cond_kwargs=dict(noisy.added),
            return_dict=False,
        )
        return self._unet[0](
            noisy.latents,
            noisy.timesteps,
            noisy.words,
            added_cond_kwargs=dict(noisy.added),
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
            return_dict=False,
        )[0]


class T2IAdapterTraining(nn.Module):
    """A T2I-Adapter learning beside a frozen UNet: features of the map, the same at every timestep.

    Source: Mou et al., arXiv:2302.08453.
    """

    def __init__(self, unet: UNet2DConditionModel, adapter: T2IAdapter) -> None:
        super().__init__()
        unet.requires_grad_(False)
        self.adapter = adapter.requires_grad_(True)
        self._unet = (unet,)

    def forward(self, noisy: Noisy, maps: Tensor) -> Tensor:
        """The predicted noise, (N, C, h, w), with maps (N, 3, H, W), 0 to 1."""
        return self._unet[0](
            noisy.latents,
            noisy.timesteps,
            noisy.words,
            added_cond_kwargs=dict(noisy.added),
            down_intrablock_additional_residuals=self.adapter(maps),
            return_dict=False,
        )[0]


class IPAdapterTraining(nn.Module):
    """An IP-Adapter learning beside a frozen UNet, whose attention is ours.

    Source: Ye et al., arXiv:2308.06721.
    """

    def __init__(self, unet: UNet2DConditionModel, adapter: IPAdapter) -> None:
        super().__init__()
        unet.requires_grad_(False)
        self.adapter = adapter.requires_grad_(True)
        self._unet = (unet,)

    def forward(self, noisy: Noisy, features: Tensor) -> Tensor:
        """The predicted noise, (N, C, h, w), with the features of pictures, (N, D); zeros are no picture."""
        unet = self._unet[0]
        with self.seen(features).shown(unet):
            return unet(
                noisy.latents, noisy.timesteps, noisy.words, added_cond_kwargs=dict(noisy.added), return_dict=False
            )[0]

    def seen(self, features: Tensor) -> Residuals:
        """What the UNet's layers read of pictures with these features, (N, D)."""
        shown = Residuals()
        pairs = self.adapter.keys_and_values(self.adapter.tokens(features))
        for layer, (key, value) in zip(cross_attention_layers(self._unet[0]), pairs, strict=True):
            keys = PictureKeys(split_heads(key, layer.heads), split_heads(value, layer.heads))
            shown.pictures[id(layer)] = [keys]
        return shown
