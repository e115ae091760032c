"""What a person does on the page, and how a test waits for what follows."""

FINAL = "#result img[data-job]"
PROMPT = "#prompt textarea"
CLEAR = "#sketch-pad [aria-label='Clear the canvas']"


def strokes(page) -> int:
    """How many strokes the canvas holds."""
    return page.evaluate("+document.querySelector('#sketch-pad [data-strokes]').dataset.strokes")


def draw(page, *points: tuple[float, float]) -> None:
    """One stroke through points given as shares of the canvas."""
    canvas = page.locator("#sketch-pad canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*at[0])
    page.mouse.down()
    for point in at[1:]:
        page.mouse.move(*point, steps=6)
    page.mouse.up()


def choose_checkpoint(page, name: str) -> None:
    """Choose it in the top bar."""
    page.click("#checkpoint-button")
    page.locator("#checkpoint-list [role=option]", has_text=name).click()
    page.wait_for_function(
        "name => document.querySelector('#checkpoint .mq-chooser-name').textContent === name", arg=name
    )


def ask(page, prompt: str | None = None) -> None:
    """Press Generate, for this prompt if one is given."""
    if prompt is not None:
        page.fill(PROMPT, prompt)
    page.click("#generate")


def make(page, prompt: str | None = None) -> str:
    """Ask and wait for the finished picture; the id of its job."""
    known = known_jobs(page)
    ask(page, prompt)
    return wait_for_another(page, known)


def known_jobs(page) -> list[str]:
    """The jobs that the page has heard of."""
    return page.wait_for_function("() => maquette.state.greeted && [...maquette.state.jobs.keys()]").json_value()


def wait_for_another(page, known: list[str]) -> str:
    """Wait for a finished picture of a job that is not known; the id of its job."""
    found = (
        "known => { const id = document.querySelector('#result img').dataset.job; return !known.includes(id) && id }"
    )
    return page.wait_for_function(found, arg=known).json_value()


def wait_for_phase(page, pattern: str) -> None:
    page.wait_for_function(
        "p => new RegExp(p).test(document.querySelector('#result .mq-phase').textContent)", arg=pattern
    )


def wait_for_state(page, state: str) -> None:
    page.wait_for_selector(f'#result [data-state="{state}"], #result[data-state="{state}"]')


def wait_for_value(page, selector: str, value: str) -> None:
    """Wait until a field holds that: an answer fills one field after the other."""
    page.wait_for_function("([s, v]) => document.querySelector(s)?.value === v", arg=[selector, value])


def wait_for_strokes(page, count: int) -> None:
    page.wait_for_selector(f'#sketch-pad [data-strokes="{count}"], #sketch-pad[data-strokes="{count}"]')


def drop(page, where: str, data: bytes, name: str = "dropped.png", kind: str = "image/png") -> None:
    """Drop a file onto something, as a person does with the mouse."""
    page.evaluate(
        """([where, bytes, name, type]) => { const files = new DataTransfer();
        files.items.add(new File([new Uint8Array(bytes)], name, { type }));
        document.querySelector(where).dispatchEvent(
          new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer: files })); }""",
        [where, list(data), name, kind],
    )
