"""What a run will write at most, against the room that there is on the disk."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from studio.errors import StorageError
from studio.training.checkpoints import KEPT
from studio.training.guiding import SHOWN
from studio.training.method import Method
from studio.training_pace import LATE_SAVE, SAMPLE, SAVE, due
from studio.training_params import CONTROL_METHODS, TrainingParams

# What an optimizer keeps, times the size of what learns, at most: two means of Adam and one of Lion; Prodigy's beside
# the start and a numerator; 8-bit means; rows and columns of Adafactor, which are as much as the rest where it is flat.
OPTIMIZERS = {"adamw": 2.0, "adamw8bit": 1.0, "prodigy": 4.0, "adafactor": 1.0, "lion": 1.0}
STATES = KEPT + 1  # while one is written, those before it are still there
COLORS = 3  # bytes of a pixel: a PNG takes less
CLOSE = 1.25  # times what is needed: a disk with less left is soon full


def bytes_written(params: TrainingParams, method: Method) -> int:
    """The most that its states, samples and all its saves, with the copy of one that becomes a model, take at once."""
    learning = _bytes(method.trained.state_dict().values())
    state = learning * (1 + OPTIMIZERS[params.optimizer] + (params.ema > 0))
    save = sum(_bytes(export.tensors.values()) for export in method.exports())
    count = due(params, 0)
    follows = params.method in CONTROL_METHODS
    prompts = len(params.sample_prompts) or (SHOWN if follows else 0)
    samples = (count[SAMPLE] + 1 + follows) * prompts  # and those of the untrained model, and what is to be followed
    return round(STATES * state) + (count[SAVE] + count[LATE_SAVE] + 1) * save + picture_bytes(params, samples)


def picture_bytes(params: TrainingParams, count: int) -> int:
    """The most that so many pictures of the run's size take."""
    return count * COLORS * params.resolution**2


def check_room(needed: int, folder: Path, what: str) -> str:
    """A warning, if the disk of that folder has little more room than is needed; else "".

    Args:
        needed: Bytes. folder: where they are written, there or not yet. what: such as "States and saves".
    Raises: StorageError, if there is less.
    """
    place = next(one for one in (folder, *folder.parents) if one.exists())
    free = shutil.disk_usage(place).free
    said = f"{what} may take {spoken_size(needed)} in {folder}, and its disk has {spoken_size(free)} left."
    if free < needed:
        hint = "Make room there and go on, or start anew with fewer saves, a smaller rank, or --data on another disk."
        raise StorageError(said, hint=hint)
    return f"{said} A run that finds the disk full waits." if free < CLOSE * needed else ""


def spoken_size(count: int) -> str:
    """Bytes in a unit that reads well: "0.2 MB", "3.4 GB"."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
