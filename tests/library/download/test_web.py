import ssl

import pytest

from studio.errors import InvalidRequestError
from studio.library.download import web
from studio.library.download.web import Web, checked_url, is_public
from tests.library.download.kit import BODY
from tests.library.download.stand_in import CERTIFICATE, Answer, serving


@pytest.mark.parametrize(
    "address",
    """127.0.0.1 127.8.8.8 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255
    198.18.0.1 240.0.0.1 :: ::1 fe80::1 fe80::1%eth0 fc00::1 fec0::1 ff02::1 ::ffff:10.0.0.1 ::ffff:127.0.0.1 ::7f00:1
    64:ff9b::7f00:1 64:ff9b::a00:1 2002:7f00:1:: 2002:a00:1:: 2001:0:4136:e378:8000:63bf:3fff:fdd2""".split(),
)
def test_private_addresses_are_known_in_every_disguise(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_known(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    ["ftp://h/a.pt", "file:///etc/passwd", "h/a.pt", "http://", "https://u:p@h/a.pt", "https://u@h/a.pt", "http://h:0/",
     "http://h:99999/", "http://[::1/", "http://h/" + "a" * 5000, "http://\x00/", "javascript:alert(1)", "//h/a.pt"],
)  # fmt: skip
def test_only_plain_web_addresses_are_taken(url):
    with pytest.raises(InvalidRequestError) as refused:
        checked_url(url)
    assert refused.value.field == "url"


def test_a_remote_person_reaches_no_private_address(desk, server):
    server.answers["/a.safetensors"] = Answer(BODY)
    view = desk.url("/a.safetensors", at_machine=False)
    assert "private network" in view["error"]
    assert server.heard == []


@pytest.mark.parametrize("host", ["127.1", "0x7f.1", "2130706433", "localhost", "[::ffff:127.0.0.1]"])
def test_no_spelling_of_this_machine_gets_through(desk, server, host):
    view = desk.get(False, url=f"http://{host}:{server.server_port}/a.safetensors")
    assert view["state"] == "failed"
    assert server.heard == []


def test_a_redirect_to_a_private_address_is_refused_even_at_the_machine(desk, server):
    with serving() as inner:
        inner.answers["/a.safetensors"] = Answer(BODY)
        server.answers["/a.safetensors"] = Answer(status=302, headers={"Location": f"{inner.url}/a.safetensors"})
        view = desk.url("/a.safetensors")
        assert "private network" in view["error"]
        assert inner.heard == []


@pytest.mark.parametrize("place", ["file:///etc/passwd", "http://u:p@h/", "http://[", "gopher://h/"])
def test_a_redirect_to_no_web_address_is_refused(desk, server, place):
    server.answers["/a.safetensors"] = Answer(status=302, headers={"Location": place})
    assert desk.url("/a.safetensors")["state"] == "failed"


def test_redirects_in_a_circle_end(desk, server):
    server.answers["/a.safetensors"] = Answer(status=302, headers={"Location": "/a.safetensors"})
    assert "without end" in desk.url("/a.safetensors")["error"]
    assert len(server.heard) < 12


def test_the_address_that_was_checked_is_the_one_connected_to(desk, server):
    asked = []

    def resolve(host, port):
        asked.append(host)
        return ["127.0.0.1"]

    desk.web = Web(resolve, proxies={})
    desk.downloads = desk.new()
    server.answers["/a.safetensors"] = Answer(BODY)
    assert desk.get(url=f"http://models.example:{server.server_port}/a.safetensors", kind="lora")["state"] == "done"
    assert asked == ["models.example"] * 2  # once for each request, and never by the connection
    assert server.heard[0][1]["Host"] == f"models.example:{server.server_port}"


def test_the_certificate_must_be_that_of_the_name_not_of_the_address(desk, monkeypatch):
    monkeypatch.setattr(web, "_certificates", lambda: ssl.create_default_context(cafile=CERTIFICATE))
    desk.web = Web(lambda host, port: ["127.0.0.1"], proxies={})
    desk.downloads = desk.new()
    with serving(encrypted=True) as server:
        server.answers["/a.safetensors"] = Answer(BODY)
        address = f"{server.server_port}/a.safetensors"
        assert desk.get(url=f"https://models.example:{address}", kind="lora")["state"] == "done"
        server.heard.clear()
        assert "certificate" in desk.get(url=f"https://other.example:{address}", kind="vae")["error"].lower()
        assert server.heard == []


def test_a_redirect_to_an_unencrypted_address_is_refused(desk, server, monkeypatch):
    monkeypatch.setattr(web, "_certificates", lambda: ssl.create_default_context(cafile=CERTIFICATE))
    desk.web = Web(lambda host, port: ["127.0.0.1"], proxies={})
    desk.downloads = desk.new()
    with serving(encrypted=True) as secure:
        secure.answers["/a.safetensors"] = Answer(status=302, headers={"Location": f"{server.url}/a.safetensors"})
        view = desk.get(url=f"https://models.example:{secure.server_port}/a.safetensors", kind="lora")
    assert "without encryption" in view["error"]
    assert server.heard == []


def test_one_private_address_among_public_ones_is_enough_to_refuse(desk):
    desk.web = Web(lambda host, port: ["8.8.8.8", "10.0.0.1"], proxies={})
    desk.downloads = desk.new()
    assert "private network" in desk.get(False, url="http://models.example/a.safetensors")["error"]


def test_a_host_that_is_not_there_is_said_after_some_tries(desk):
    def resolve(host, port):
        raise OSError(-2, "Name or service not known")

    desk.web = Web(resolve, proxies={})
    desk.downloads = desk.new()
    view = desk.get(url="https://models.example/a.safetensors")
    assert "there is no host models.example" in view["error"]
    assert desk.naps == [1.0, 2.0, 4.0, 8.0]


def test_a_proxy_is_used_but_never_for_this_machine(desk, server):
    with serving() as proxy:
        desk.web = Web(
            lambda host, port: ["127.0.0.1" if host == "127.0.0.1" else "8.8.8.8"], proxies={"http": proxy.url}
        )
        desk.downloads = desk.new()
        proxy.answers["http://models.example/a.safetensors"] = Answer(BODY)
        server.answers["/b.safetensors"] = Answer(BODY)
        assert desk.get(url="http://models.example/a.safetensors", kind="lora")["state"] == "done"
        assert desk.url("/b.safetensors")["state"] == "done"
        assert set(proxy.paths()) == {"http://models.example/a.safetensors"}
