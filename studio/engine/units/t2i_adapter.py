"""T2I-Adapters: a small network reads the map once a picture, and its features join the UNet on the way down."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from diffusers import T2IAdapter, UNet2DConditionModel
from torch import Tensor

from studio.engine.units.unit import Residuals, Setting, StepInput, for_both


@dataclass
class T2IAdapterUnit:
    """A T2I-Adapter with its map, (1, 3, H, W), 0 to 1; of one channel where the adapter wants one."""

    model: T2IAdapter
    map: Tensor
    setting: Setting = field(default_factory=Setting)
    _features: list[Tensor] | None = field(default=None, init=False)

    def attached(self, unet: UNet2DConditionModel) -> AbstractContextManager[None]:  # noqa: ARG002
        """A T2I-Adapter changes no weights."""
        return nullcontext()

    def contribute(self, step: StepInput, residuals: Residuals) -> None:
        """Add the features, which are computed at the first step that is on."""
        if self._features is None:
            channels = self.model.config.in_channels
            shown = self.map if channels == 3 else self.map.mean(1, keepdim=True)
            self._features = self.setting.weigh(self.model(shown.to(step.sample)))
        rows = len(step.sample)
        if self.setting.one_sided and step.guided:
            said = for_both([t.expand(rows // 2, -1, -1, -1) for t in self._features])
        else:
            said = [t.expand(rows, -1, -1, -1) for t in self._features]
        residuals.add_features(said)
