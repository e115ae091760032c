"""Settings read from a picture, as far as the models that they name are here."""

from dataclasses import replace

from studio.gallery.infotext import PictureSettings
from studio.library.index import Library
from studio.params import AdapterRef, GenerationParams, GenerationRequest
from studio.prompts.networks import read_networks
from studio.stacking import SHORTEST_ID, is_called


def fitted_here(found: PictureSettings, library: Library) -> PictureSettings:
    """The settings without the autoencoder and the adapters that are not here, each of them told."""
    notes, request = list(found.notes), found.request
    vae = request.vae
    if vae is not None and all(entry.name != vae for entry in library.entries("vae")):
        notes.append(f"The autoencoder {vae[:60]} is not here; the checkpoint's own is used instead.")
        request = replace(request, vae=None)
    kept = tuple(ref for ref in request.adapters if _is_here(ref, library))
    notes += [
        f"The {ref.kind} {ref.name[:60]} is not here; it is left out." for ref in request.adapters if ref not in kept
    ]
    return PictureSettings(replace(request, adapters=kept), tuple(notes))


def as_typed(params: GenerationParams) -> GenerationRequest:
    """The request for a picture with its prompts as they were typed, so that another seed draws anew.

    Tags of adapters are taken out: their adapters stand on the request's stack.
    """
    request = params.to_request()
    return replace(
        request,
        prompt=read_networks(params.template or params.prompt).text,
        negative_prompt=read_networks(params.negative_template or params.negative_prompt).text,
    )


def _is_here(ref: AdapterRef, library: Library) -> bool:
    by_id = len(ref.id) >= SHORTEST_ID
    return any(is_called(e, ref.name) or (by_id and e.id.startswith(ref.id)) for e in library.entries(ref.kind))
