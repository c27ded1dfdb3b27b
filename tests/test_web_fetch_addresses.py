"""``web_fetch`` reaches the public internet and what is allowed, however something else is spelled or disguised."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import ip_address

import pytest
from marshmallow import ValidationError

from backchat.ports.tools import ToolFailed
from backchat_web.addresses import is_public
from backchat_web.fetch_settings import FetchSchema
from web_tools_served import ALLOWED, Names, Site, fetching, inside, site

SECRET = "127.0.0.1"
NOT_PUBLIC = "public internet only"
NO_PAGE = "not the address of a page"
SPELLINGS = {
    "loopback": ("http://127.0.0.1:{port}/", NOT_PUBLIC),
    "another address of loopback": ("http://127.8.9.1:{port}/", NOT_PUBLIC),
    "this host": ("http://0.0.0.0:{port}/", NOT_PUBLIC),
    "this host in short": ("http://0:{port}/", NO_PAGE),
    "by name": ("http://localhost:{port}/", NOT_PUBLIC),
    "by name in capitals with a final dot": ("http://LOCALHOST.:{port}/", NOT_PUBLIC),
    "a name below localhost": ("http://a.localhost:{port}/", NOT_PUBLIC),
    "decimal": ("http://2130706433:{port}/", NO_PAGE),
    "hexadecimal": ("http://0x7f000001:{port}/", NO_PAGE),
    "octal": ("http://017700000001:{port}/", NO_PAGE),
    "octal parts": ("http://0177.0.0.1:{port}/", NO_PAGE),
    "hexadecimal parts": ("http://0x7f.0x0.0x0.0x1:{port}/", NO_PAGE),
    "a hexadecimal last part": ("http://127.0.0.0x1:{port}/", NO_PAGE),
    "two parts": ("http://127.1:{port}/", NO_PAGE),
    "three parts": ("http://127.0.1:{port}/", NO_PAGE),
    "a final dot": ("http://127.0.0.1.:{port}/", NO_PAGE),
    "leading zeros": ("http://127.000.000.001:{port}/", NO_PAGE),
    "percent-encoded": ("http://127%2e0%2e0%2e1:{port}/", NO_PAGE),
    "percent-encoded digits": ("http://%31%32%37.0.0.1:{port}/", NO_PAGE),
    "fullwidth digits": ("http://\uff11\uff12\uff17.0.0.1:{port}/", NOT_PUBLIC),
    "circled digits": ("http://\u2460\u2461\u2466.0.0.1:{port}/", NOT_PUBLIC),
    "ideographic dots": ("http://127\u30020\u30020\u30021:{port}/", NOT_PUBLIC),
    "IPv6 loopback": ("http://[::1]:{port}/", NOT_PUBLIC),
    "IPv6 loopback at length": ("http://[0000:0000:0000:0000:0000:0000:0000:0001]:{port}/", NOT_PUBLIC),
    "IPv6 unspecified": ("http://[::]:{port}/", NOT_PUBLIC),
    "IPv4-mapped": ("http://[::ffff:127.0.0.1]:{port}/", NOT_PUBLIC),
    "IPv4-mapped in hexadecimal": ("http://[::ffff:7f00:1]:{port}/", NOT_PUBLIC),
    "IPv4-compatible": ("http://[::127.0.0.1]:{port}/", NOT_PUBLIC),
    "IPv4-translated": ("http://[::ffff:0:127.0.0.1]:{port}/", NOT_PUBLIC),
    "NAT64": ("http://[64:ff9b::7f00:1]:{port}/", NOT_PUBLIC),
    "local NAT64": ("http://[64:ff9b:1::7f00:1]:{port}/", NOT_PUBLIC),
    "6to4": ("http://[2002:7f00:1::]:{port}/", NOT_PUBLIC),
    "Teredo": ("http://[2001:0:4136:e378:8000:63bf:80ff:fffe]:{port}/", NOT_PUBLIC),
    "ISATAP": ("http://[2a00:1450::5efe:127.0.0.1]:{port}/", NOT_PUBLIC),
    "unique ISATAP": ("http://[2a00:1450::200:5efe:127.0.0.1]:{port}/", NOT_PUBLIC),
    "link-local with a zone": ("http://[fe80::1%25lo]:{port}/", NOT_PUBLIC),
    "a user name that looks like a host": ("http://example.org@127.0.0.1:{port}/", "user name"),
    "a backslash that some read as a slash": ("http://127.0.0.1:{port}\\@example.org/", NO_PAGE),
    "a tab in the host": ("http://127.0.\t0.1:{port}/", NO_PAGE),
    "a line break in the host": ("http://127.0.0.1\n:{port}/", NO_PAGE),
    "a null byte": ("http://127.0.0.1\x00.example.org:{port}/", NO_PAGE),
    "a space in the host": ("http://127.0.0.1 .example.org:{port}/", NO_PAGE),
    "no scheme": ("//127.0.0.1:{port}/", "only http and https"),
    "no host": ("http:///127.0.0.1:{port}/", NO_PAGE),
    "a file": ("file:///etc/passwd", "only http and https"),
    "another protocol": ("gopher://127.0.0.1:{port}/", "only http and https"),
    "metadata": ("http://169.254.169.254/latest/meta-data/", NOT_PUBLIC),
    "metadata in decimal": ("http://2852039166/", NO_PAGE),
    "metadata over IPv6": ("http://[fd00:ec2::254]/", NOT_PUBLIC),
    "metadata, mapped": ("http://[::ffff:a9fe:a9fe]/", NOT_PUBLIC),
    "metadata by name": ("http://metadata.google.internal/", NOT_PUBLIC),
    "metadata by a short name": ("http://metadata/", NOT_PUBLIC),
    "metadata of Alibaba": ("http://100.100.100.200/", NOT_PUBLIC),
    "metadata of Azure": ("http://168.63.129.16/", NOT_PUBLIC),
    "metadata of Oracle": ("http://192.0.0.192/", NOT_PUBLIC),
    "a port that is none of the web's": ("http://example.org:22/", "this port"),
    "port 0": ("http://example.org:0/", "this port"),
}
# fmt: off
PRIVATE = (
    "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.1.1", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1",
    "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1",
    "239.255.255.255", "240.0.0.1", "255.255.255.255", "0.0.0.0", "::", "::1", "fe80::1", "fec0::1", "fc00::1",
    "fdff::1", "ff02::1", "2001:db8::1", "2001:2::1", "2001:10::1", "3fff::1", "100::1", "5f00::1", "4000::1",
)
# fmt: on
# fmt: off
PUBLIC = (
    "1.1.1.1", "9.9.9.9", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.0.1.1", "192.169.0.1",
    "198.17.0.1", "198.20.0.1", "223.255.255.255", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e", "2001:200::1",
    "::ffff:1.1.1.1", "64:ff9b::101:101",
)
# fmt: on


@pytest.fixture
async def secret() -> AsyncIterator[Site]:
    """A page that nobody must get."""
    async with site(SECRET) as found:
        found.page("/", "<p>the secret</p>")
        yield found


@pytest.fixture
async def open(secret: Site) -> AsyncIterator[Site]:
    """A site that may be fetched, at the same port."""
    async with site(ALLOWED, secret.port) as found:
        found.page("/", "an open page", "text/plain")
        yield found


@pytest.mark.parametrize("why", SPELLINGS)
async def test_spellings_of_what_is_forbidden(secret: Site, why: str) -> None:
    url, said = SPELLINGS[why]
    names = Names(localhost=[[SECRET]], a_localhost=[[SECRET]], metadata=[["169.254.169.254"]])
    async with fetching(secret, names=names, time_limit=5) as tool:
        with pytest.raises(ToolFailed) as refused:
            await tool.run({"url": url.format(port=secret.port)})
    assert said in str(refused.value)
    assert secret.requests == []
    assert names.asked == []  # and nobody was told what was looked for


@pytest.mark.parametrize("why", [why for why, (url, _) in SPELLINGS.items() if url.isprintable()])
async def test_redirects_to_what_is_forbidden(secret: Site, open: Site, why: str) -> None:
    start = open.moved("/away", SPELLINGS[why][0].format(port=secret.port))
    async with fetching(secret, names=Names(), time_limit=5) as tool:
        with pytest.raises(ToolFailed) as refused:
            await tool.run({"url": start})
    assert "connection" not in str(refused.value)
    assert secret.requests == []
    assert [request.path for request in open.requests] == ["/away"]


@pytest.mark.parametrize("address", PRIVATE)
async def test_names_of_what_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))
    async with fetching(names=Names(evil_example_org=[[address]]), time_limit=5) as tool:
        with pytest.raises(ToolFailed, match=NOT_PUBLIC):
            await tool.run({"url": "http://evil.example.org/"})


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public(address: str) -> None:
    assert is_public(ip_address(address))


async def test_a_name_that_leads_elsewhere_the_second_time(secret: Site, open: Site) -> None:
    names = Names(rebind_example_org=[[ALLOWED], [SECRET]])
    open.moved("/start", "/next")
    open.page("/next", "an open page", "text/plain")
    url = f"http://rebind.example.org:{secret.port}"
    async with fetching(secret, names=names) as tool:
        with pytest.raises(ToolFailed, match=NOT_PUBLIC):
            await tool.run({"url": f"{url}/start"})
        assert (names.asked, secret.requests) == (["rebind.example.org"] * 2, [])
        assert [request.path for request in open.requests] == ["/start"]
        # And it is looked up once for each request: what was checked is what is connected to.
        again = Names(rebind_example_org=[[ALLOWED], [SECRET]])
    async with fetching(secret, names=again) as tool:
        assert "an open page" in inside(await tool.run({"url": f"{url}/next"}))
        with pytest.raises(ToolFailed, match=NOT_PUBLIC):  # no connection is kept that would spare the look
            await tool.run({"url": f"{url}/next"})
    assert (again.asked, secret.requests) == (["rebind.example.org"] * 2, [])


async def test_of_several_addresses_the_permitted_ones(secret: Site, open: Site) -> None:
    names = Names(both_example_org=[[SECRET, ALLOWED, "::1"]])
    async with fetching(secret, names=names) as tool:
        assert "an open page" in inside(await tool.run({"url": f"http://both.example.org:{secret.port}/"}))
    assert secret.requests == []


async def test_what_does_not_exist_and_what_is_private_read_alike(secret: Site) -> None:
    """So that nobody learns which names a local network has."""
    said = set()
    async with fetching(secret, names=Names(db_example_org=[[SECRET]])) as tool:
        for host in ("db.example.org", "no.example.org", "db.corp", SECRET):
            with pytest.raises(ToolFailed) as refused:
                await tool.run({"url": f"http://{host}:{secret.port}/"})
            said.add(str(refused.value))
    assert len(said) == 1


@pytest.mark.parametrize(
    ("allow", "deny", "url", "fetched"),
    [
        ([], [], "http://127.0.0.1:{port}/", False),
        (["127.0.0.0/8"], [], "http://127.0.0.1:{port}/", True),
        (["127.0.0.1"], [], "http://[::ffff:127.0.0.1]:{port}/", True),
        (["127.0.0.0/8"], ["127.0.0.1"], "http://127.0.0.1:{port}/", False),
        (["127.0.0.0/8"], ["127.0.0.1"], "http://[::ffff:127.0.0.1]:{port}/", False),
        (["wiki.corp"], [], "http://wiki.corp:{port}/", True),
        (["wiki.corp"], [], "http://WIKI.corp.:{port}/", True),
        (["wiki.corp"], [], "http://a.wiki.corp:{port}/", False),
        (["wiki.corp"], [], "http://127.0.0.1:{port}/", False),
        (["wiki.corp"], [], "http://evil.example.org:{port}/", False),
        (["*.corp"], [], "http://a.wiki.corp:{port}/", True),
        (["*.corp"], ["a.wiki.corp"], "http://a.wiki.corp:{port}/", False),
        (["*.corp"], ["*.corp"], "http://a.wiki.corp:{port}/", False),
        (["*.corp"], ["127.0.0.0/8"], "http://wiki.corp:{port}/", False),
        (["127.0.0.0/8"], [], "http://evil.example.org:{port}/", True),
        (["127.0.0.0/8"], ["*.example.org"], "http://evil.example.org:{port}/", False),
        (["localhost"], [], "http://localhost:{port}/", True),
    ],
)
async def test_what_the_deployer_says(secret: Site, allow: list[str], deny: list[str], url: str, fetched: bool) -> None:
    secret.page("/", "found", "text/plain")
    hosts = ("wiki_corp", "a_wiki_corp", "evil_example_org", "localhost")
    names = Names(**{host: [[SECRET]] for host in hosts})
    async with fetching(secret, names=names, allow=allow, deny=deny) as tool:
        if fetched:
            assert inside(await tool.run({"url": url.format(port=secret.port)})).endswith("found")
        else:
            with pytest.raises(ToolFailed, match=NOT_PUBLIC):
                await tool.run({"url": url.format(port=secret.port)})
    assert len(secret.requests) == fetched


async def test_names_are_looked_up_as_the_system_does(secret: Site) -> None:
    secret.page("/", "found", "text/plain")
    async with fetching(secret, allow=["localhost"]) as tool:
        assert inside(await tool.run({"url": f"http://localhost:{secret.port}/"})).endswith("found")


@pytest.mark.parametrize("entry", ["", "a b", "10.0.0.0/40", "http://wiki", "wiki:80", "*", "a..b", "*.*.org", "[::1]"])
def test_what_is_neither_a_name_nor_a_network(entry: str) -> None:
    for option in ("allow", "deny"):
        with pytest.raises(ValidationError) as refused:
            FetchSchema().load({option: [entry]})
        assert list(refused.value.messages_dict) == [option]
