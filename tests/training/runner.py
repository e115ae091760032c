"""One run as a process of its own: `python -m tests.training.runner FOLDER PARAMS`, killed or joined by tests."""

import json
import sys
from pathlib import Path

from safetensors.torch import save_file

from studio.training import ranks
from studio.training_params import TrainingParams
from tests.training.lesson import session


class Clock:
    """Goes by itself as far as steps are told."""

    now = 0.0

    def tell(self, event: dict) -> None:
        """Write an event; a step takes 25 seconds."""
        self.now += 25 if event["event"] == "step" else 0
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()


def main(folder: Path, given: TrainingParams) -> None:
    """Train; each event is a line on standard output, and states are kept after every third step."""
    clock = Clock()
    hooks = {"hear": clock.tell, "clock": lambda: clock.now}
    run = session(folder / "state", given, hooks, dropout=given.dropout, seed=ranks.RANK)
    run.rehearse()
    run.run()
    if ranks.RANK == 0:
        weights = {f"trained.{name}": value for name, value in run.lesson.method.trained.state_dict().items()}
        weights |= {f"average.{name}": value for name, value in run.average.weights.items()}
        save_file({name: value.contiguous() for name, value in weights.items()}, folder / "result.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), TrainingParams.from_dict(json.loads(sys.argv[2])))
