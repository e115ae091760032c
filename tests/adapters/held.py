"""A file of tensors that is held in memory, as adapters read it."""

from dataclasses import dataclass, field

from studio.adapters.file import read_adapter


@dataclass(frozen=True)
class Held:
    """See studio.adapters.source.Tensors."""

    tensors: dict
    title: str = "cat.safetensors"
    metadata: dict = field(default_factory=dict)

    @property
    def shapes(self):
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

    def tensor(self, name):
        return self.tensors[name]


def read(tensors, targets, metadata=None):
    return read_adapter(Held(tensors, metadata=metadata or {}), targets)


def only_delta(tensors, shape, parameter="weight", metadata=None, **others):
    """The one change of a layer `unet.conv_in` that has a weight of that shape, a bias, and whatever else."""
    targets = {"unet.conv_in.weight": tuple(shape), "unet.conv_in.bias": (shape[0],), **others}
    stem = "lora_unet_conv_in"
    found = read({f"{stem}.{role}": tensor for role, tensor in tensors.items()}, targets, metadata)
    assert not found.unmatched
    assert found.matched == len(tensors)
    assert list(found.deltas) == [f"unet.conv_in.{parameter}"]
    return found.deltas[f"unet.conv_in.{parameter}"]
