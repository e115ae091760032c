"""The section Settings in a browser."""

TOLD = "word => document.querySelector('#facts textarea')?.value.includes(word)"


def test_what_is_told_of_the_machine_is_what_is_so_when_it_is_looked_at(page, request):
    """A checkpoint comes after the page was opened: it is there when somebody looks, and when they look again."""
    name = request.getfixturevalue("stranger")
    page.get_by_role("tab", name="Settings").click()
    page.wait_for_function(TOLD, arg=name)
    page.get_by_role("tab", name="Create").click()
    page.wait_for_selector("#status >> text=ready")
    page.get_by_role("tab", name="Settings").click()
    page.wait_for_function(TOLD, arg="worker: ready")
