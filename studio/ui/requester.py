"""Who uses the page, as the guard before every route found out."""

import gradio as gr

from studio.access import User


def requester(request: gr.Request) -> User:
    """The user of an event. Raises: AttributeError, without the guard: nobody has rights then."""
    assert request.request is not None  # gradio has one for every event of a page
    return request.request.state.user
