"""A network in an ONNX file, run by OpenCV on the processor."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from studio.control.weights import not_it


class OnnxFile:
    """What the file holds, as a function of a batch.

    Args:
        file: Read as a whole, so that it can name no other file.
        answers: The shapes of what it says, in turn.
    Raises: ValueError, if it is no network that OpenCV can run.
    """

    def __init__(self, file: Path, answers: Sequence[tuple[int, ...]]) -> None:
        self.file, self.answers = file, [*answers]
        try:
            self._net: Any = cv2.dnn.readNetFromONNX(np.fromfile(file, np.uint8))
        except cv2.error as error:
            raise ValueError(f"{file.name}: {error}") from error

    def __call__(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """What it says of the batch. Raises: ModelNotFoundError, if it is another network; MemoryError."""
        self._net.setInput(batch)
        try:
            said = list(self._net.forward(self._net.getUnconnectedOutLayersNames()))
        except cv2.error as error:
            if error.code == cv2.Error.StsNoMem:
                raise MemoryError(str(error)) from error
            raise not_it([self.file]) from error
        if [answer.shape for answer in said] != self.answers:
            raise not_it([self.file])
        return said
