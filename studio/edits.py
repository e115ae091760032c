"""The service behind the Edit tab: a picture, its mask and its frame kept as assets."""

from collections.abc import Mapping
from typing import Any

from studio import editing
from studio.access import User, require
from studio.errors import AssetError
from studio.params import GenerationRequest
from studio.services import Studio


def add_edit(studio: Studio, edit: Mapping[str, Any], size: tuple[int, int], user: User) -> dict[str, Any]:
    """The fields of a request that changes a picture; none while there is no picture.

    size: What the form asks for, (width, height). Raises: InvalidRequestError; AssetError, if a picture is gone.
    """
    require(user, "generate")
    cleaned = editing.clean_edit(edit)
    if cleaned["picture"] is None:
        return {}
    name = cleaned["picture"]["id"]
    if not studio.has_asset(name, user):
        raise AssetError("The picture to change is not here any more.", hint="Choose it again on the Edit tab.")
    prepared = editing.prepare(cleaned, studio.assets.open_image(name), studio.open_base(cleaned, user))
    kept = {"init_image": studio.assets.put_image(prepared.canvas) if prepared.grown else name}
    if prepared.mask is not None:
        kept["mask_image"] = studio.assets.put_image(prepared.mask)
    studio.uploads.note(user.name, list(kept.values()))
    return editing.request_fields(cleaned, prepared, size) | kept


def restored_edit(studio: Studio, request: GenerationRequest, user: User) -> dict[str, Any] | None:
    """The edit that gives that request: its canvas as the picture, its mask under the strokes; None without one."""
    name, mask = request.init_image, request.mask_image
    if name is None or not studio.has_asset(name, user):
        return None
    width, height = studio.assets.open_image(name).size
    edit: dict[str, Any] = {"picture": {"id": name, "w": width, "h": height}, "alone": request.mask_padding is not None}
    if mask is not None and studio.has_asset(mask, user):
        edit["base"] = {"id": mask, "box": [0, 0, width, height]}
    named = {"strength": request.strength, "padding": request.mask_padding, "blur": request.mask_blur}
    return edit | named | {"fill": request.fill}
