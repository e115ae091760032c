"""Every error a user may see.

* StudioError
  - InvalidRequestError     a field of a request that cannot be used, named
  - ModelNotFoundError      no model file under that name
  - BaseModelMismatchError  an adapter or control model made for another base model
  - AssetError              a picture that is missing, broken or too large
  - JobError                a job that cannot be moved, cancelled or retried
  - MissingError            a job or a picture that is not here, or not yours
  - ForbiddenError          the user may not do this
  - StorageError            a folder or database that cannot be read or written
  - WorkerError             the generation process ended or cannot start
  - OutOfMemoryError        the device ran out of memory during a job
  - TrainingError           a training run that cannot go on
  - DownloadError           a file that could not be fetched, or is not what was promised
  - ExtensionError          an extension that cannot be loaded
  - StartError              the studio cannot start: port, lock, account
"""


class StudioError(Exception):
    """Base of all errors shown to a user.

    `str(error)` says what happened; `hint` says what to do about it, in one sentence.
    """

    hint = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint

    def sentence(self) -> str:
        """What happened and what to do, as one line for a person."""
        return f"{self} {self.hint}".strip()


class InvalidRequestError(StudioError):
    """A field of a request that cannot be used. `field` is its name, as in JSON."""

    def __init__(self, message: str, *, field: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.field = field


class ModelNotFoundError(StudioError):
    """No model under that name."""

    hint = "Choose one of the models that `python launch.py doctor` lists, or put the file into data/models."


class BaseModelMismatchError(StudioError):
    """An adapter or control model was made for another base model."""

    hint = "Pick one whose base model equals the checkpoint's, shown in brackets after its name."

    def __init__(self, name: str, *, expected: str, found: str, hint: str | None = None) -> None:
        super().__init__(f"{name} was made for {found}, and the checkpoint for {expected}.", hint=hint)
        self.expected = expected
        self.found = found


class AssetError(StudioError):
    """A picture that is missing, broken or too large."""

    hint = "Use a PNG, JPEG or WebP picture of at most 8192 pixels a side."


class JobError(StudioError):
    """A job that cannot be moved, cancelled or retried."""

    hint = "Reload the page to see the present queue."


class MissingError(StudioError):
    """A job or a picture that is not here, or not yours."""

    hint = "Reload the page to see what there is."


class ForbiddenError(StudioError):
    """The user may not do this."""

    hint = "Ask the person who runs this studio."


class StorageError(StudioError):
    """A folder or database that cannot be read or written."""

    hint = "Free some disk space, or choose another folder with --data."


class WorkerError(StudioError):
    """The generation process ended or cannot start."""

    hint = "The job can be tried again; `python launch.py doctor` shows what is wrong with the machine."


class OutOfMemoryError(StudioError):
    """The device ran out of memory during a job."""

    hint = "Make the picture smaller, ask for fewer at once, or close other programs."


class TrainingError(StudioError):
    """A training run that cannot go on."""

    hint = "What it saved is kept; start again with a lower learning rate."


class DownloadError(StudioError):
    """A file that could not be fetched, or is not what was promised."""

    hint = "Try again later, or try another source."


class ExtensionError(StudioError):
    """An extension that cannot be loaded."""

    hint = "Remove its folder from data/extensions, or ask its author for a version that fits."


class StartError(StudioError):
    """The studio cannot start."""
