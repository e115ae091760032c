"""The section with every picture that was made."""

from studio.ui.components.own import OwnComponent


def build_gallery_tab() -> OwnComponent:
    """Its pages come from /api/v1/gallery; `act` asks for something with a picture."""
    return OwnComponent("gallery_grid", elem_id="gallery")
