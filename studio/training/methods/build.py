"""From params to the method that they name, on a checkpoint that lives."""

from studio.engine.generate import Engine
from studio.engine.store import Checkpoint
from studio.messages import ModelLocation
from studio.training.base import Living
from studio.training.methods.controls import ControlNetLearning, IPAdapterLearning, T2IAdapterLearning
from studio.training.methods.dreambooth import Dreambooth
from studio.training.methods.hypernetwork import Hypernet
from studio.training.methods.inversion import Inversion
from studio.training.methods.lora import Lora
from studio.training.methods.pivotal import Pivotal
from studio.training_params import TrainingParams

WITH_ENGINE = {"dreambooth": Dreambooth, "inversion": Inversion, "pivotal": Pivotal}
FROM_MAPS = {"controlnet": ControlNetLearning, "t2i_adapter": T2IAdapterLearning}


def build_method(
    params: TrainingParams,
    checkpoint: Checkpoint,
    engine: Engine | None = None,
    *,
    start: ModelLocation | None = None,
    features: int = 0,
) -> Living:
    """The method of these params. What is drawn is drawn from torch's generator: seed it before.

    Args:
        checkpoint: Loaded by the engine's store; its modules are trained as they live, and wear no adapter.
        engine: That pictures of the run are made with. Vectors and control models that are in no file yet are lent to
            it by `shown`; without one they can be trained, and not shown.
        start: The control model that `params.start_from` names.
        features: Width of an image encoder's projected features, for a new IP-Adapter.
    Raises: InvalidRequestError, saying which of the params the checkpoint cannot do; ModelNotFoundError, for a start
        that cannot be read; ValueError, for a new IP-Adapter without `features`.
    """
    if (made := WITH_ENGINE.get(params.method)) is not None:
        return made(params, checkpoint, engine)
    if (made := FROM_MAPS.get(params.method)) is not None:
        return made(params, checkpoint, engine, start)
    if params.method == "ip_adapter":
        return IPAdapterLearning(params, checkpoint, engine, start, features)
    return Hypernet(params, checkpoint) if params.method == "hypernetwork" else Lora(params, checkpoint)
