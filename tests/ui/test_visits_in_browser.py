"""Tests share a browser window: what that may keep from one test to the next, and what not."""

LEAVE = """async () => {
  localStorage.setItem("left", "here");
  sessionStorage.setItem("left", "here");
  document.cookie = "left=here; max-age=600";
  await (await caches.open("left")).put("/left", new Response("here"));
  await new Promise((done, failed) => {
    const request = indexedDB.open("left");
    request.onsuccess = () => done(request.result.close());
    request.onerror = failed;
  });
}"""
FOUND = """async () => [
  localStorage.getItem("left"), sessionStorage.getItem("left"), document.cookie,
  await caches.keys(), await indexedDB.databases(),
]"""
FILES = """Object.fromEntries(performance.getEntriesByType("resource")
  .filter((entry) => entry.name.includes("/assets/")).map((entry) => [entry.name, entry.transferSize]))"""
BROWSER = "localStorage.getItem('maquette-browser')"


def test_a_visitor_finds_nothing_of_the_one_before(visit, window):
    page = visit()
    page.evaluate(LEAVE)
    assert page.evaluate(FOUND) == ["here", "here", "left=here", ["left"], [{"name": "left", "version": 1}]]
    known_as = page.evaluate(BROWSER)
    window.forget()
    assert window.context.pages == [window.anchor]
    later = visit(window.context)
    assert later.evaluate(FOUND) == [None, None, "", [], []]
    assert later.evaluate(BROWSER) not in (None, known_as)


def test_a_visitor_need_not_fetch_again_what_the_one_before_fetched(visit, window):
    before = visit().evaluate(FILES)
    assert len(before) > 20
    window.forget()
    transferred = visit(window.context).evaluate(FILES)
    assert len(before.keys() & transferred.keys()) > 20
    assert not {name for name, size in transferred.items() if size and name in before}


def test_a_second_visitor_is_somebody_else(visit):
    first, second = visit(), visit()
    assert first.context != second.context
    assert first.evaluate(BROWSER) != second.evaluate(BROWSER)
