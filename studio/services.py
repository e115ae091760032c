"""Studio: everything that a front end may do, in one object that knows no web framework and no torch.

Each call takes the user who asks; what they may not do raises ForbiddenError. The page, the HTTP routes and the command
line use the same calls, so a sentence that refuses something reads the same everywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

from studio import skeleton
from studio.access import LOCAL_USER, User, require
from studio.accounts import Accounts
from studio.datasets.store import DatasetStore
from studio.errors import AssetError, ForbiddenError, JobError, MissingError, StudioError
from studio.gallery.assets import AssetStore
from studio.gallery.drafts import Drafts
from studio.gallery.index import Gallery, GalleryItem
from studio.gallery.infotext import PictureSettings
from studio.gallery.png import read_png
from studio.gallery.uploads import Uploads
from studio.jobs.events import Events
from studio.jobs.queue import Job, JobQueue
from studio.jobs.worker import Dispatcher
from studio.library.annotators import Annotation, AnnotatorFiles
from studio.library.card import Card
from studio.library.control_kinds import WITHOUT_MODEL
from studio.library.download.queue import Downloads
from studio.library.index import Library, ModelEntry
from studio.library.tools.runs import Tools
from studio.messages import Resident
from studio.models import Models
from studio.outcome import job_view
from studio.painting.rasterise import make_map
from studio.params import GenerationParams, GenerationRequest
from studio.presets import Preset
from studio.prompts.words import unknown_words
from studio.registry import Registry, find_annotator
from studio.resolve import Resolver
from studio.restored import fitted_here
from studio.settings import Settings, save_preferences
from studio.shelf import Shelf
from studio.sight import Question, Sight
from studio.stacks import SavedStacks
from studio.strokes import clean_strokes, is_empty, rasterise
from studio.trainings.service import Trainings
from studio.warming import Warming

GUEST_COUNT, GUEST_JOBS = 4, 10


@dataclass(frozen=True)
class Submitted:
    """A job that was queued, with what was changed or chosen on the way, as sentences."""

    job: Job
    params: GenerationParams
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Drawing:
    """A drawing as assets: the map that the model sees, and the data that made it. `empty`: nothing was drawn."""

    map: str
    editor: str
    empty: bool


@dataclass(kw_only=True)
class Studio:
    """The stores and services, wired by studio.app. `warnings`: what a person should know after the start."""

    settings: Settings
    registry: Registry
    library: Library
    gallery: Gallery
    assets: AssetStore
    uploads: Uploads
    drafts: Drafts
    jobs: JobQueue
    events: Events
    dispatcher: Dispatcher
    resolver: Resolver
    presets_found: list[Preset]
    accounts: Accounts
    models: Models
    downloads: Downloads
    tools: Tools
    datasets: DatasetStore
    trainings: Trainings
    shelf: Shelf
    stacks: SavedStacks
    warming: Warming
    warnings: list[str] = field(default_factory=list[str])

    # ---- generating

    def resolve(self, request: GenerationRequest, user: User = LOCAL_USER) -> tuple[GenerationParams, tuple[str, ...]]:
        """Choose what the request leaves open. Raises: InvalidRequestError and kin, naming the field."""
        return self.resolver.resolve(request, self.sight(user))

    def submit(self, request: GenerationRequest, user: User) -> Submitted:
        """Queue a generation; returns at once, unless a picture has to be looked at first."""
        require(user, "generate")
        self._check_guest(request, user)
        params, warnings = self.resolve(request, user)
        job = self.jobs.submit(params.to_dict(), owner=user.name, warnings=warnings)
        self.library.mark_used(set(params.models()), at=job.created)
        self.dispatcher.announce(job)
        self.dispatcher.wake()
        return Submitted(job=job, params=params, warnings=warnings)

    def job(self, job_id: str, user: User) -> Job:
        """One job. Raises: MissingError, if it is not there or not the user's."""
        job = self.jobs.get(job_id)
        if job is None or not self._may_see(job.owner, user):
            raise MissingError(f"There is no job {job_id[:40]}.")
        return job

    def list_jobs(self, user: User, *, states: tuple[str, ...] = (), limit: int = 100) -> list[Job]:
        """The user's jobs (everybody's for the owner of the studio), newest first."""
        return self.jobs.list(owner=self._scope(user), states=states or None, limit=limit)

    def cancel(self, job_id: str, user: User) -> Job:
        """Stop a job: at once when it waits, at the next step when it runs."""
        self.dispatcher.cancel(self.job(job_id, user).id)
        return self.job(job_id, user)

    def move(self, job_id: str, before: str | None, user: User) -> Job:
        """Put a waiting job before another one, or last. Only the studio's owner orders the queue."""
        require(user, "order")
        self.jobs.move(self.job(job_id, user).id, before)
        self.dispatcher.announce_queue()
        return self.job(job_id, user)

    def retry(self, job_id: str, user: User) -> Job:
        """Queue a failed or cancelled job again, with the same params."""
        require(user, "generate")
        job = self.jobs.retry(self.job(job_id, user).id)
        self.dispatcher.announce(job)
        self.dispatcher.wake()
        return job

    def prefetch(self, checkpoint: str | None = None, controls: tuple[str, ...] = (), vae: str = "") -> None:
        """Warm models up in the worker while the person still draws. See `Warming.begin`."""
        self.warming.begin(checkpoint, controls, vae)

    # ---- pictures

    def add_asset(self, data: bytes, user: User) -> str:
        """Keep a picture that was uploaded; its asset id. Raises: AssetError, saying what is wrong with it."""
        require(user, "generate")
        asset_id = self.assets.put_image(data)
        self.uploads.note(user.name, [asset_id])
        return asset_id

    def has_asset(self, asset_id: str, user: User, suffix: str = ".png") -> bool:
        """Whether that asset is here and the user may see it."""
        seen = user.may("see_all") or self.uploads.has(user.name, asset_id)
        return seen and self.assets.exists(asset_id, suffix)

    def add_strokes(self, strokes: Mapping[str, Any], size: tuple[int, int], user: User) -> Drawing:
        """Keep a drawing: strokes as drawn, and the light-on-black map of `size` (width, height) that they give."""
        cleaned = clean_strokes(strokes)
        base = self.open_base(cleaned, user)
        image = None if is_empty(cleaned, base) else rasterise(cleaned, *size, base)
        return self._keep_drawing(cleaned, image, user)

    def open_base(self, drawing: Mapping[str, Any], user: User) -> Image.Image | None:
        """The finished map under what is drawn; None without one. Raises: AssetError, if it is not here."""
        if not (base := drawing.get("base")):
            return None
        if not self.has_asset(base["id"], user):
            raise AssetError("The map under the drawing is not here any more.", hint="Choose the photo again.")
        return self.assets.open_image(base["id"])

    def add_pose(self, pose: Mapping[str, Any], size: tuple[int, int], user: User) -> Drawing:
        """Keep a pose: the skeletons, and the map of `size` (width, height) that they give."""
        cleaned = skeleton.clean_pose(pose)
        image = None if skeleton.is_empty(cleaned) else skeleton.rasterise(cleaned, *size)
        return self._keep_drawing(cleaned, image, user)

    def add_painting(self, painting: Mapping[str, Any], kind: str, size: tuple[int, int], user: User) -> Drawing:
        """Keep a painting of that kind ("depth", "segments"), and the map of `size` (width, height) that it gives."""
        cleaned, image = make_map(painting, kind, size, lambda checked: self.open_base(checked, user))
        return self._keep_drawing(cleaned, image, user)

    def _keep_drawing(self, cleaned: dict[str, Any], image: Image.Image | None, user: User) -> Drawing:
        require(user, "generate")
        if image is None:
            return Drawing(map="", editor="", empty=True)
        drawing = Drawing(map=self.assets.put_image(image), editor=self.assets.put_json(cleaned), empty=False)
        self.uploads.note(user.name, [drawing.map, drawing.editor])
        return drawing

    def annotate(self, question: Question, user: User) -> Annotation:
        """Make a control map of a picture and keep it; waits for the worker. Raises: ForbiddenError, and as Sight."""
        require(user, "generate")
        return self.sight(user).look(question)

    def sight(self, user: User) -> Sight:
        """What looks at that user's pictures."""

        def keep(image: Image.Image) -> str:
            map_id = self.assets.put_image(image)
            self.uploads.note(user.name, [map_id])
            return map_id

        return Sight(
            registry=self.registry,
            files=AnnotatorFiles.of(self.settings),
            user=user,
            has_asset=lambda asset_id: self.has_asset(asset_id, user),
            keep=keep,
            ask=lambda question: self.dispatcher.annotate(question, user.name),
        )

    def download_annotator(self, name: str, user: User, *, at_machine: bool) -> list[dict[str, Any]]:
        """Queue what that annotator opens and is not here. Raises: InvalidRequestError, and as `downloads.add`."""
        wanted = AnnotatorFiles.of(self.settings).downloads(find_annotator(self.registry, name))
        return [self.downloads.add(body, user, at_machine=at_machine) for body in wanted]

    def read_settings(self, data: bytes, user: User) -> PictureSettings:
        """The settings that made a picture, from its own metadata, with notes on what could not be used."""
        found = read_png(data, lambda asset_id: self.has_asset(asset_id, user))
        return fitted_here(found, self.library)

    def gallery_page(
        self, user: User, *, query: str = "", starred: bool = False, before: int | None = None, limit: int = 60
    ) -> list[GalleryItem]:
        """Newest first, starting after the item `before`."""
        return self.gallery.page(self._scope(user), query=query, starred=starred, before=before, limit=limit)

    def gallery_item(self, item_id: int, user: User) -> GalleryItem:
        """One picture. Raises: MissingError, if it is not there or not the user's."""
        item = self.gallery.get(item_id)
        if item is None or not self._may_see(item.owner, user):
            raise MissingError(f"There is no picture {item_id}.", hint="Reload the gallery.")
        return item

    def star(self, item_id: int, starred: bool, user: User) -> GalleryItem:
        """Mark a picture, or take the mark off."""
        return self.gallery.star(self.gallery_item(item_id, user).id, starred)

    def delete(self, item_id: int, user: User) -> None:
        """Move a picture to the trash, from where `restore` brings it back."""
        require(user, "delete")
        self.gallery.delete(self.gallery_item(item_id, user).id)

    def restore(self, item_id: int, user: User) -> GalleryItem:
        """Bring a deleted picture back."""
        require(user, "delete")
        return self.gallery.restore(item_id)

    # ---- what there is to choose

    def checkpoints(self) -> list[ModelEntry]:
        """Every checkpoint, usable ones first."""
        entries = [e for e in self.library.entries() if e.kind in ("checkpoint", "diffusers")]
        return sorted(entries, key=lambda e: (not e.usable, e.name))

    def card(self, checkpoint: str | None = None) -> Card:
        """The defaults of a checkpoint; of the one that would be used, if none is named."""
        return self.resolver.card(self.resolver.checkpoint(checkpoint))

    def unknown_words(self, prompt: str, checkpoint: str | None = None) -> list[str]:
        """Words that neither a small checkpoint nor an adapter here was shown; none for one without a list of words."""
        known, names = self.card(checkpoint).known_words, [entry.name for entry in self.library.entries("embedding")]
        taught = [word for entry in self.library.entries("lora") for word in entry.trigger_words]
        return list(dict.fromkeys(w for w, _, _ in unknown_words(prompt, (*known, *taught), names))) if known else []

    def presets(self) -> list[Preset]:
        """Partial requests by name: ours, and the person's own over them."""
        return self.presets_found

    # ---- one browser's state

    def draft(self, user: User, browser: str) -> dict[str, Any]:
        """What was typed and drawn in that browser; empty when nothing was."""
        return self.drafts.get(user.name, browser)

    def save_draft(self, user: User, browser: str, body: dict[str, Any]) -> None:
        """Keep what was typed and drawn. Raises: InvalidRequestError, if it is too large."""
        self.drafts.save(user.name, browser, body)

    # ---- the state of the studio

    def change_preferences(self, changes: Mapping[str, Any], user: User) -> None:
        """Keep what the person prefers; previews and turbo follow at once, the rest at the next start."""
        require(user, "settings")
        self.settings = save_preferences(self.settings, changes)
        wiring, chosen = self.dispatcher.wiring, self.settings.preferences
        self.dispatcher.wiring = replace(wiring, preview_every=chosen.preview_every, turbo=chosen.turbo)

    def status(self) -> dict[str, Any]:
        """Plain values: the worker's facts and state, how many jobs wait and for whom, warnings."""
        return {
            "worker": self.dispatcher.worker_status(),
            "waiting": self.jobs.count_waiting(),
            "waits_for": self.dispatcher.wiring.lease.reason,
            "warnings": [*self.warnings, *self.registry.warnings],
            "checkpoints": [e.name for e in self.checkpoints() if e.usable],
        }

    def residency(self) -> Resident | None:
        """What the worker holds in memory; None while it is busy or starting."""
        return self.dispatcher.residency(timeout=2.0)

    def free(self, user: User) -> Resident:
        """Unload every model. Raises: ForbiddenError; JobError, while the worker is at work."""
        require(user, "free")
        if (held := self.dispatcher.free()) is None:
            raise JobError("The memory is in use right now.", hint="Free it when the picture is done.")
        return held

    def control_trouble(self, kind: str, checkpoint: str | None) -> StudioError | None:
        """Why the checkpoint can follow no map of that kind, and what would fit; None if it can."""
        if kind in WITHOUT_MODEL:
            return None
        try:
            self.resolver.control_entry(kind, "", self.resolver.checkpoint(checkpoint))
        except StudioError as error:
            return error
        return None

    def control_models(self, kind: str, checkpoint: str | None) -> list[ModelEntry]:
        """The models that follow a map of that kind with the checkpoint, the one chosen by itself first."""
        return self.library.control_models(kind, self.resolver.checkpoint(checkpoint).base)

    def job_view(self, job: Job) -> dict[str, Any]:
        """A job as front ends show it: plain values, with the links of its pictures."""
        return job_view(job, self.gallery)

    def _scope(self, user: User) -> str | None:
        return None if user.may("see_all") else user.name

    def _may_see(self, owner: str, user: User) -> bool:
        return owner == user.name or user.may("see_all")

    def _check_guest(self, request: GenerationRequest, user: User) -> None:
        """A guest works with their own pictures, and leaves room for others."""
        if user.may("see_all"):
            return
        if request.count > GUEST_COUNT:
            raise ForbiddenError(
                f"A guest may ask for at most {GUEST_COUNT} pictures at once.",
                hint=f"Set the count to {GUEST_COUNT} or less.",
            )
        if len(self.list_jobs(user, states=("queued",), limit=GUEST_JOBS)) >= GUEST_JOBS:
            raise ForbiddenError(
                f"{GUEST_JOBS} of your jobs wait already.", hint="Wait until one is done, or cancel one."
            )
        units = [
            asset_id
            for unit in request.controls
            for asset_id in (unit.map, unit.source, unit.mask, unit.editor, *unit.images)
        ]
        for asset_id in (*units, request.init_image, request.mask_image):
            if asset_id and not self.uploads.has(user.name, asset_id):
                raise AssetError(f"The picture {asset_id[:16]!r} is not here.", hint="Upload it again.")
