import base64
import re

import gradio as gr
import pytest
from starlette.testclient import TestClient

from studio.api.guard import Guard, Policy, host_name, listening_hosts
from studio.api.routes import build_api
from tests.api.kit import ANN, BOB, HOST, PASSWORD, PROMPT, client, finished, png

FOREIGN = {"origin": "http://evil.example"}
SENTENCE = re.compile(r"[A-Z].*\.")


def with_page(studio, policy: Policy) -> Guard:
    """Our routes and a page of gradio's, as the studio serves them."""
    with gr.Blocks() as blocks:
        box = gr.Textbox(elem_id="prompt")
        box.change(lambda text: text, box, box, api_name="echo")
    app = gr.mount_gradio_app(build_api(studio), blocks, path="/", run_history=False, show_error=False)
    return Guard(app, policy)


def every_route(app, prefix: str = "") -> set[tuple[str, str]]:
    """Method and path of each route of the application, of what is mounted in it and of its routers."""
    found: set[tuple[str, str]] = set()
    for route in app.routes:
        inner = getattr(route, "original_router", None) or getattr(route, "app", None)
        path = prefix + getattr(route, "path", "")
        if methods := getattr(route, "methods", None):
            found |= {(method, path) for method in methods}
        elif getattr(inner, "routes", None):
            found |= every_route(inner, path)
        else:
            found.add(("GET", path + "/x"))
    return found


def filled(path: str) -> str:
    return "/" + re.sub(r"\{[^}]*\}", "1", path).lstrip("/")


@pytest.fixture(scope="module")
def gradio_routes():
    with gr.Blocks() as blocks:
        gr.Textbox()
    from fastapi import FastAPI

    return every_route(gr.mount_gradio_app(FastAPI(openapi_url=None), blocks, path="/"))


def test_the_list_of_routes_holds_ours_and_gradios(studio, gradio_routes):
    ours = {path for _, path in every_route(build_api(studio))}
    assert {"/api/v1/jobs", "/api/v1/gallery/{item_id}/file", "/api/v1/docs"} <= ours
    assert {"/gradio_api/upload", "/gradio_api/queue/join", "/config"} <= {path for _, path in gradio_routes}
    assert len(gradio_routes) > 50


def test_no_route_answers_a_stranger(studio, shared, gradio_routes):
    visitor = TestClient(with_page(studio, shared), base_url=f"http://{HOST}", follow_redirects=False)
    routes = (every_route(build_api(studio)) | gradio_routes) - {("GET", "/logout"), ("POST", "/login")}
    answered = {
        (method, path): status
        for method, path in routes
        if (status := visitor.request(method, filled(path)).status_code) not in (401, 429)
        and not path.startswith(("/login", "/logout"))
    }
    assert not answered


def test_no_route_answers_another_website(studio, gradio_routes):
    visitor = TestClient(with_page(studio, Policy()), base_url=f"http://{HOST}", follow_redirects=False)
    routes = every_route(build_api(studio)) | gradio_routes
    statuses = {visitor.request(method, filled(path), headers=FOREIGN).status_code for method, path in routes}
    assert statuses == {403}


def test_no_route_answers_to_another_name(studio, gradio_routes):
    visitor = TestClient(with_page(studio, Policy()), base_url="http://rebound.example:7860", follow_redirects=False)
    routes = every_route(build_api(studio)) | gradio_routes
    assert {visitor.request(method, filled(path)).status_code for method, path in routes} == {403}


def test_a_guest_reaches_no_part_of_gradio_that_serves_files(studio, shared):
    guest = TestClient(with_page(studio, shared), base_url=f"http://{HOST}", follow_redirects=False)
    guest.cookies.set("maquette_session", studio.accounts.open_session(ANN))
    for path in ("file=/etc/passwd", "file/etc/passwd", "proxy=http://x/", "upload_progress", "deep_link", "runs"):
        assert guest.get(f"/gradio_api/{path}").status_code == 403, path
    for path in ("upload", "call/echo", "run/echo", "api/echo"):
        assert guest.post(f"/gradio_api/{path}").status_code == 403, path
    for path in ("/monitoring", "/openapi.json", "/docs", "/gradio_api//file=/etc/passwd", "/proxy=http://x"):
        assert guest.get(path).status_code == 403, path


def test_a_guest_can_use_the_page(studio, shared):
    guest = TestClient(with_page(studio, shared), base_url=f"http://{HOST}", follow_redirects=False)
    guest.cookies.set("maquette_session", studio.accounts.open_session(ANN))
    page = guest.get("/", headers={"accept": "text/html"})
    assert page.status_code == 200
    assert 'id="prompt"' in page.text or "prompt" in page.text
    assert guest.get("/config").status_code == 200
    joined = guest.post("/gradio_api/queue/join", json={"data": ["hi"], "fn_index": 0, "session_hash": "s"})
    assert joined.status_code == 200
    direct = guest.post("/gradio_api/run/predict", json={"data": ["hi"], "fn_index": 0, "session_hash": "s"})
    assert direct.status_code not in (401, 403)


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "LOCALHOST", "[::1]:7860", "localhost.:1"])
def test_the_machine_answers_to_its_own_names(host):
    assert Policy().knows(host)


@pytest.mark.parametrize(
    "host", ["", "evil.example", "127.0.0.1.evil.example", "192.168.0.2", "localhost@evil.example", "[", "a]b"]
)
def test_the_machine_answers_to_no_other_name(host):
    assert not Policy().knows(host)


def test_a_listening_studio_answers_to_addresses_and_names_of_the_network():
    policy = Policy(hosts=listening_hosts(), any_address=True)
    assert policy.knows("192.168.0.2:7860")
    assert policy.knows("[fe80::1]:7860")
    assert not policy.knows("evil.example")


def test_a_host_loses_its_port_and_case():
    assert host_name("Studio.Local:80") == "studio.local"


def test_our_own_page_may_do_everything(local):
    own = {"origin": f"http://{HOST}", "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}
    assert local.post("/api/v1/jobs", json=PROMPT, headers=own).status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "http://localhost:7860"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
    ],
)
def test_pages_of_others_cannot_post(local, headers):
    answer = local.post("/api/v1/jobs", json=PROMPT, headers=headers)
    assert answer.status_code == 403
    assert SENTENCE.fullmatch(answer.json()["detail"])
    assert local.get("/api/v1/jobs").json() == []


def test_a_link_from_another_website_opens_the_page_but_no_frame_does(studio):
    visitor = client(studio, Policy())
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert visitor.get("/api/v1/status", headers=link).status_code == 200
    assert visitor.get("/api/v1/status", headers=link | {"sec-fetch-dest": "iframe"}).status_code == 403


def test_every_answer_forbids_framing_and_guessing_of_types(local, stranger):
    for answer in (local.get("/api/v1/status"), local.get("/nothing"), stranger.get("/api/v1/status")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"
        assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
        assert "http" not in answer.headers["content-security-policy"]
    assert local.get("/api/v1/status").headers["cache-control"] == "no-store"


def test_a_browser_keeps_the_files_whose_names_tell_what_is_in_them(studio, shared):
    owner = TestClient(with_page(studio, Policy()), base_url=f"http://{HOST}", follow_redirects=False)
    file = re.search(r"/assets/index-[\w-]+\.js", owner.get("/").text)
    assert file is not None
    assert owner.get(file[0]).headers["cache-control"] == "private, max-age=31536000, immutable"
    assert "cache-control" not in owner.get("/").headers
    assert "cache-control" not in owner.get("/assets/nothing-12345678.js").headers
    stranger = TestClient(with_page(studio, shared), base_url=f"http://{HOST}", follow_redirects=False)
    assert "immutable" not in stranger.get(file[0]).headers.get("cache-control", "")


def test_a_person_is_sent_to_the_log_in_page_and_a_program_told(stranger):
    person = stranger.get("/", headers={"accept": "text/html,*/*", "sec-fetch-mode": "navigate"})
    assert (person.status_code, person.headers["location"]) == (303, "/login")
    program = stranger.get("/api/v1/jobs")
    assert program.status_code == 401
    assert program.headers["www-authenticate"].startswith("Basic")
    script = stranger.get("/api/v1/jobs", headers={"sec-fetch-mode": "cors"})
    assert "www-authenticate" not in script.headers


def test_the_log_in_page_loads_nothing(stranger):
    page = stranger.get("/login")
    assert page.status_code == 200
    assert 'type="password"' in page.text
    assert not re.search(r"(src|href)=|url\(|@import|<script", page.text)
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


def test_the_right_password_opens_a_session(stranger):
    entered = stranger.post("/login", data={"name": "ann", "password": PASSWORD})
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    flags = entered.headers["set-cookie"].lower()
    assert "httponly" in flags
    assert "samesite=lax" in flags
    assert "secure" not in flags
    assert stranger.get("/api/v1/status").json()["user"] == {"name": "ann", "role": "guest"}


@pytest.mark.parametrize("headers", [{"x-forwarded-proto": "https"}, {"origin": f"https://{HOST}"}])
def test_behind_https_the_cookie_is_for_https_alone(stranger, headers):
    entered = stranger.post("/login", data={"name": "ann", "password": PASSWORD}, headers=headers)
    assert "secure" in entered.headers["set-cookie"].lower()


def test_a_wrong_password_opens_nothing_and_soon_takes_time(stranger):
    answers = [stranger.post("/login", data={"name": "ann", "password": "guess"}) for _ in range(6)]
    assert [a.status_code for a in answers] == [401, 401, 401, 429, 429, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert "set-cookie" not in answers[-1].headers
    right = stranger.post("/login", data={"name": "ann", "password": PASSWORD})
    assert right.status_code == 429


def test_the_owners_key_is_not_slowed_down_by_guesses(studio, stranger):
    for _ in range(8):
        stranger.post("/login", data={"name": "ann", "password": "guess"})
    entered = stranger.get("/", params={"key": studio.accounts.owner_key})
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    assert stranger.get("/api/v1/status").json()["user"] == {"name": "local", "role": "local"}


def test_a_wrong_key_opens_nothing(stranger):
    for key in ("", "x", "\ud800"):
        answer = stranger.get("/", params={"key": key.encode("utf-8", "replace")})
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        assert "set-cookie" not in answer.headers


def test_logging_out_ends_the_session(studio, ann):
    token = ann.cookies["maquette_session"]
    assert ann.get("/logout").status_code == 303
    assert studio.accounts.session(token) is None
    ann.cookies.set("maquette_session", token)
    assert ann.get("/api/v1/status").status_code == 401


def test_programs_send_a_password_or_the_owners_key(studio, stranger):
    basic = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
    assert stranger.get("/api/v1/status", headers={"authorization": f"Basic {basic}"}).json()["user"]["name"] == "ann"
    key = {"authorization": f"Bearer {studio.accounts.owner_key}"}
    assert stranger.get("/api/v1/status", headers=key).json()["user"]["role"] == "local"
    for wrong in ("Basic !!!", "Basic " + base64.b64encode(b"ann:no").decode(), "Bearer x", "Bearer", "Digest x"):
        assert stranger.get("/api/v1/status", headers={"authorization": wrong}).status_code == 401, wrong


def test_a_long_log_in_form_is_not_read(stranger):
    assert stranger.post("/login", content=b"x" * 10_000).status_code == 413


def test_guesses_through_the_tunnel_slow_down_the_guesser_alone(stranger):
    for _ in range(6):
        stranger.post("/login", data={"name": "ann", "password": "no"}, headers={"x-forwarded-for": "9.9.9.9, 1.1.1.1"})
    guesser = {"x-forwarded-for": "8.8.8.8, 1.1.1.1"}
    assert stranger.post("/login", data={"name": "ann", "password": PASSWORD}, headers=guesser).status_code == 429
    other = {"x-forwarded-for": "2.2.2.2"}
    assert stranger.post("/login", data={"name": "ann", "password": PASSWORD}, headers=other).status_code == 303


def test_only_the_tunnel_may_say_where_a_request_comes_from(studio, shared):
    from tests.api.kit import build

    remote = TestClient(build(studio, shared), base_url=f"http://{HOST}", client=("5.5.5.5", 1), follow_redirects=False)
    for number in range(6):
        spoofed = {"x-forwarded-for": f"1.1.1.{number}"}
        last = remote.post("/login", data={"name": "ann", "password": "no"}, headers=spoofed)
    assert last.status_code == 429


def test_guests_see_nothing_of_each_other(studio, ann, bob):
    job, item = finished(studio, BOB)
    asset = bob.post("/api/v1/assets", content=png()).json()["id"]
    assert bob.get(f"/api/v1/assets/{asset}").status_code == 200
    assert bob.get(f"/api/v1/gallery/{item}/file").status_code == 200
    hidden = [f"jobs/{job}", f"gallery/{item}", f"gallery/{item}/file", f"gallery/{item}/thumbnail", f"assets/{asset}"]
    for path in hidden:
        assert ann.get(f"/api/v1/{path}").status_code == 404, path
    for path in (f"jobs/{job}/cancel", f"jobs/{job}/retry", f"gallery/{item}/star"):
        assert ann.post(f"/api/v1/{path}").status_code == 404, path
    assert ann.get("/api/v1/jobs").json() == ann.get("/api/v1/gallery").json() == []
    borrowed = ann.post("/api/v1/jobs", json=PROMPT | {"init_image": asset})
    assert (borrowed.status_code, borrowed.json()["hint"]) == (422, "Upload it again.")


def test_what_guests_may_not_do_is_refused_in_a_sentence(studio, ann):
    job, item = finished(studio, ANN)
    refused = [
        ann.delete(f"/api/v1/gallery/{item}"),
        ann.post(f"/api/v1/gallery/{item}/restore"),
        ann.post(f"/api/v1/jobs/{job}/move", json={}),
        ann.get("/api/v1/residency"),
        ann.post("/api/v1/jobs", json=PROMPT | {"count": 5}),
    ]
    for answer in refused:
        assert answer.status_code == 403, answer.url
        assert SENTENCE.fullmatch(answer.json()["detail"])
    assert ann.get(f"/api/v1/gallery/{item}").status_code == 200


def test_a_guest_cannot_fill_the_queue(ann):
    statuses = [ann.post("/api/v1/jobs", json=PROMPT).status_code for _ in range(11)]
    assert statuses == [201] * 10 + [403]


def test_no_answer_tells_a_guest_a_path_of_the_machine(studio, ann, monkeypatch):
    finished(studio, ANN)
    studio.warnings.append(f"{studio.settings.paths.root} is odd.")
    for path in ("status", "models", "jobs", "gallery", "presets", "schedulers"):
        assert str(studio.settings.paths.root) not in ann.get(f"/api/v1/{path}").text, path

    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("studio.files.os.replace", full)
    refused = ann.post("/api/v1/assets", content=png())
    assert refused.status_code == 507
    assert str(studio.settings.paths.root) not in refused.text


def test_the_owner_sees_everybodys_pictures(studio, owner):
    _, item = finished(studio, BOB)
    assert owner.get(f"/api/v1/gallery/{item}").status_code == 200
    assert owner.delete(f"/api/v1/gallery/{item}").status_code == 200


def test_routes_without_a_guard_answer_nobody(studio):
    bare = TestClient(build_api(studio), base_url=f"http://{HOST}", raise_server_exceptions=False)
    assert bare.get("/api/v1/jobs").status_code == 500
