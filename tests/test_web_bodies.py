"""Request bodies of every kind, and public routes, on a dialect made for it."""

from __future__ import annotations

import asyncio
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import orjson
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from marshmallow import EXCLUDE, RAISE, Schema, fields
from openapi_spec_validator import validate

from backchat.errors import InvalidInput
from backchat.hookspecs import hookimpl
from backchat.testing.plugin import Serve
from backchat.testing.server import Box
from backchat.web.body import FORM, JSON, LONG_TYPE, MULTIPART
from backchat.web.dialect import Call, Dialect, Problem, Route
from backchat.web.fields import Uploads
from backchat.web.multipart import PARTS, Form, MalformedBody, Upload, boundary_of
from backchat.web.spool import Spool

pytestmark = pytest.mark.any_storage
SERVER_LIMIT, ROUTE_LIMIT = 64 << 10, 4 << 20
FORM_TYPE = f"{MULTIPART}; boundary=b"


class Anything(Schema):
    class Meta:
        unknown = EXCLUDE

    content = fields.String(load_default=None)
    stream = fields.Boolean(load_default=False)
    files = Uploads(metadata={"description": "Some files."})
    file = Uploads(most=1)


class Needy(Schema):
    class Meta:
        unknown = RAISE

    text = fields.String(required=True)


class OneFile(Schema):
    file = Uploads(required=True, most=1)


def _shown(body: Any) -> web.Response:
    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [[u.name, u.filename, u.mime, u.data.decode("latin-1")] for u in value]
        return value

    return web.json_response({name: plain(value) for name, value in body.items()})


class Lab:
    """The dialect. Its routes show what reached them; ``files`` are those that ``/spooled`` was given."""

    def __init__(self) -> None:
        self.files: list[BinaryIO] = []

    async def echo(self, call: Call) -> web.Response:
        return _shown(call.body)

    async def sizes(self, call: Call) -> web.Response:
        (file,) = call.body["file"]
        return web.json_response({"size": len(file.data), "peak": tracemalloc.get_traced_memory()[1]})

    async def spooled(self, call: Call) -> web.Response:
        (upload,) = call.body["file"]
        peak = tracemalloc.get_traced_memory()[1] if tracemalloc.is_tracing() else 0
        self.files.append(upload.file)
        if call.request.headers.get("X-Take"):
            upload.take()

        def look() -> tuple[str, int]:
            upload.file.seek(0)
            return sha256(upload.file.read()).hexdigest(), upload.file.fileno()

        digest, number = await asyncio.to_thread(look)
        return web.json_response({"size": upload.size, "sha256": digest, "peak": peak, "on disk": number > 0})

    async def whoever(self, call: Call) -> web.Response:
        return web.json_response({"user": call.who.user})

    async def refuse(self, call: Call) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        if not socket.can_prepare(call.request):
            raise InvalidInput("this address takes WebSockets only")
        await socket.prepare(call.request)
        await socket.send_json({"type": "error", "message": "no"})
        await socket.close()
        return socket

    @hookimpl
    def backchat_dialects(self) -> Sequence[Dialect]:
        def post(path: str, handler: Any, body: Schema, **more: Any) -> Route:
            return Route(method="POST", path=path, handler=handler, summary=path, body=body, **more)

        def get(path: str, handler: Any, **more: Any) -> Route:
            return Route(method="GET", path=path, handler=handler, summary=path, **more)

        routes = [
            post("/any", self.echo, Anything(), accepts=(JSON, FORM, MULTIPART), limit=lambda services: ROUTE_LIMIT),
            post("/form", self.echo, Anything(), accepts=(JSON, FORM)),
            post("/file", self.sizes, OneFile(), accepts=(MULTIPART,), limit=lambda services: ROUTE_LIMIT),
            post(
                "/spooled",
                self.spooled,
                OneFile(),
                accepts=(MULTIPART,),
                limit=lambda services: ROUTE_LIMIT,
                spooled=True,
            ),
            post("/needy", self.echo, Needy()),
            post("/lenient", self.echo, Anything()),
            get("/whoever", self.whoever, public=True),
            get("/socket", self.refuse, public=True, statuses={101: "A WebSocket", 400: "Not asked for one"}),
            get("/private", self.echo),
        ]
        return [Dialect(name="lab", mount="/lab", routes=routes, render_error=_error)]


def _error(problem: Problem, request: web.Request) -> web.Response:
    return web.json_response({"code": problem.code, "message": problem.message}, status=problem.status)


@pytest.fixture
def lab() -> Lab:
    return Lab()


@pytest.fixture
async def box(serve: Serve, lab: Lab) -> Box:
    return await serve({"dialects": ["lab"], "server": {"body_limit": SERVER_LIMIT}}, [lab])


async def send(box: Box, path: str, data: Any = None, type: str | None = None, **headers: str) -> tuple[int, Any]:
    """The status and the JSON of the answer. No Content-Type goes out unless one is given."""
    named = {**headers, **({"Content-Type": type} if type is not None else {})}
    data = BytesIO(data) if isinstance(data, bytes) else data  # aiohttp warns of long bytes
    skip = () if type is not None else ("Content-Type",)
    async with box.client.post(
        f"/lab{path}", data=data, headers={**await box.key(), **named}, skip_auto_headers=skip
    ) as answer:
        return answer.status, await answer.json()


def encoded(**given: Any) -> tuple[bytes, str]:
    """A body as httpx writes it."""
    request = httpx.Request("POST", "http://x/", **given)
    return request.read(), request.headers["Content-Type"]


def part(head: str, data: bytes = b"x") -> bytes:
    return b"--b\r\n" + head.encode() + b"\r\n\r\n" + data + b"\r\n"


NAMED = 'Content-Disposition: form-data; name="content"'
FILE = 'Content-Disposition: form-data; name="file"; filename="a"'


# ---- content types --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        {"json": {"content": "\u00fc \u2028 &=+%", "stream": True}},
        {"data": {"content": "\u00fc \u2028 &=+%", "stream": "true"}},
        {"data": {"content": "\u00fc \u2028 &=+%", "stream": "true"}, "files": {"other": b""}},
    ],
    ids=["json", "form", "multipart"],
)
async def test_the_three_encodings_say_the_same(box: Box, given: dict[str, Any]) -> None:
    status, said = await send(box, "/any", *encoded(**given))
    assert (status, said) == (200, {"content": "\u00fc \u2028 &=+%", "stream": True, "files": [], "file": []})


@pytest.mark.parametrize(
    ("path", "type", "status"),
    [
        ("/any", "application/json; charset=utf-8", 200),
        ("/any", "APPLICATION/JSON", 200),
        ("/any", "application/vnd.x+json", 200),
        ("/any", None, 200),
        ("/any", "text/plain", 415),
        ("/any", "", 415),
        ("/any", "nonsense", 415),
        ("/form", FORM_TYPE, 415),
        ("/file", "application/json", 415),
        ("/file", None, 415),
        # JSON under any name, where nothing else can be meant: curl -d, and clients that name nothing
        ("/lenient", None, 200),
        ("/lenient", "text/plain", 200),
        ("/lenient", FORM, 200),
        ("/lenient", FORM_TYPE, 415),
    ],
)
async def test_the_content_type_decides(box: Box, path: str, type: str | None, status: int) -> None:
    answered, said = await send(box, path, b'{"content": "a"}', type)
    assert answered == status
    if status == 415:
        assert said["code"] == "unsupported_media_type"
    else:
        assert said["content"] == "a"


async def test_a_refused_type_is_refused_before_its_body_is_read(box: Box) -> None:
    status, said = await send(box, "/any", b"x" * (SERVER_LIMIT + 1), "text/plain")
    assert (status, said["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("path", "data", "type", "status"),
    [
        ("/lenient", None, None, 200),
        ("/lenient", b"", "application/json", 200),
        ("/any", None, None, 200),
        ("/any", b"", FORM, 200),
        ("/needy", None, None, 400),
        ("/needy", b"", "application/json", 400),
        ("/any", b"", FORM_TYPE, 400),
    ],
)
async def test_no_body_at_all(box: Box, path: str, data: bytes | None, type: str | None, status: int) -> None:
    answered, said = await send(box, path, data, type)
    assert answered == status
    assert said == ({"content": None, "stream": False, "files": [], "file": []} if status == 200 else said)
    assert said.get("code", "malformed_body") == "malformed_body"


@pytest.mark.parametrize("data", [b"[]", b"null", b'"a"', b"1"])
async def test_json_that_is_no_object(box: Box, data: bytes) -> None:
    for path in ("/any", "/lenient", "/needy"):
        assert (await send(box, path, data, JSON))[0] == 400


@pytest.mark.parametrize("filler", [";", '"', '";', ";a*0="])
async def test_a_content_type_that_nobody_means_is_not_looked_into(box: Box, filler: str) -> None:
    type = f"{FORM_TYPE}; x={filler}"
    type += filler * ((LONG_TYPE - len(type)) // len(filler))
    answered, said = await send(box, "/any", part(NAMED) + b"--b--", type)
    assert said.get("code") != "unsupported_media_type"
    for path in ("/any", "/lenient"):
        answered, said = await send(box, path, b"{}", type + filler * 100)
        assert (answered, said["code"]) == (415, "unsupported_media_type")
        assert "longer than" in said["message"]


# ---- forms ----------------------------------------------------------------------------------------------------------


async def test_the_last_of_a_repeated_field_counts(box: Box) -> None:
    assert (await send(box, "/form", b"content=a&content=b", FORM))[1]["content"] == "b"
    both = part(NAMED, b"a") + part(NAMED, b"b") + b"--b--"
    assert (await send(box, "/any", both, FORM_TYPE))[1]["content"] == "b"


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b"content=", ""),
        (b"content", ""),
        (b"&&content=a%20b+c&", "a b c"),
        (b"content=a=b", "a=b"),
        (b"content=%C3%BC%00", "\u00fc\x00"),
        (b"content=%zz%", "%zz%"),
        ("content=\u00fc".encode(), "\u00fc"),
        (b"con%74ent=a", "a"),
        (b"content=" + b"%61" * 15_000, "a" * 15_000),
    ],
)
async def test_what_a_form_says(box: Box, data: bytes, content: str) -> None:
    status, said = await send(box, "/form", data, FORM)
    assert (status, said["content"]) == (200, content)


@pytest.mark.parametrize("data", [b"content=%ff", b"content=\xff", b"%ff=a", b"&".join([b"a=b"] * (PARTS + 1))])
async def test_what_is_no_form(box: Box, data: bytes) -> None:
    status, said = await send(box, "/form", data, FORM)
    assert (status, said["code"]) == (400, "malformed_body")


async def test_the_server_s_limit_holds_for_text(box: Box) -> None:
    text = b"x" * SERVER_LIMIT
    for data, type in [
        (b'{"content":"%b"}' % text, JSON),
        (b"content=" + text, FORM),
        (part(NAMED, text + b"x") + b"--b--", FORM_TYPE),
        ((part(NAMED, text[:-1]) + part(NAMED, b"12")) + b"--b--", FORM_TYPE),
    ]:
        status, said = await send(box, "/any", data, type)
        assert (status, said["code"]) == (413, "too_large")
    assert (await send(box, "/any", part(NAMED, text) + b"--b--", FORM_TYPE))[0] == 200


# ---- files ----------------------------------------------------------------------------------------------------------


async def test_files_come_whole_in_order_under_their_names(box: Box) -> None:
    tricky = bytes(range(256)) + b"\r\n--b\r\n\r\n--" * 3 + b"\r"
    data, type = encoded(
        data={"content": "hi"},
        files=[
            ("files", ("one.bin", tricky)),
            ("files", ("two.txt", b"", "Text/Plain; charset=x")),
            ("file", ("three.pdf", b"3")),
        ],
    )
    _, said = await send(box, "/any", data, type)
    assert said == {
        "content": "hi",
        "stream": False,
        "files": [
            ["files", "one.bin", "application/octet-stream", tricky.decode("latin-1")],
            ["files", "two.txt", "text/plain", ""],
        ],
        "file": [["file", "three.pdf", "application/pdf", "3"]],
    }


@pytest.mark.parametrize(
    ("head", "filename"),
    [
        ('form-data; name="file"; filename="\u00fc \u2028 %.pdf"', "\u00fc \u2028 %.pdf"),
        ('form-data; name="file"; filename="a%22b%0A.pdf"', 'a"b%0A.pdf'),
        ('form-data; name="file"; filename="a\\"b\\\\c\\d.pdf"', 'a"b\\c\\d.pdf'),
        ('form-data; name="file"; filename="a;b=c.pdf"', "a;b=c.pdf"),
        ("form-data; name=file; filename=a.pdf", "a.pdf"),
        ('FORM-DATA ;  FileName = "a.pdf" ; NAME="file"', "a.pdf"),
        ('form-data; name="file"; filename="../../etc/passwd"', "../../etc/passwd"),
    ],
)
async def test_filenames(box: Box, head: str, filename: str) -> None:
    data = part(f"CONTENT-disposition: {head}") + b"--b--"
    status, said = await send(box, "/any", data, FORM_TYPE)
    assert (status, said["file"]) == (200, [["file", filename, "application/octet-stream", "x"]])


@pytest.mark.parametrize("character", ["\u4e16", "\U0001f30a", '"', "\\", "%", " ", ";"])
async def test_the_longest_filenames(box: Box, character: str) -> None:
    name = character * 255
    raw = name.replace("\\", "\\\\").replace('"', '\\"')
    data = part(f'Content-Disposition: form-data; name="file"; filename="{raw}"') + b"--b--"
    for sent, type in ((data, FORM_TYPE), encoded(files={"file": (name, b"x")})):
        (file,) = (await send(box, "/any", sent, type))[1]["file"]
        assert file[1] == name


@pytest.mark.parametrize("name", ['\u00fc "q" \\ %22.pdf', "a\\b", 'x"; filename="y'])
async def test_filenames_as_httpx_writes_them(box: Box, name: str) -> None:
    data, type = encoded(files={"file": (name, b"")})
    (file,) = (await send(box, "/any", data, type))[1]["file"]
    assert file[1] == name.replace("%22", '"')  # the standard's way to write a quote cannot be told from these three


async def test_an_empty_choice_of_a_browser_is_no_file(box: Box) -> None:
    nothing = part('Content-Disposition: form-data; name="file"; filename=""', b"") + b"--b--\r\n"
    assert (await send(box, "/any", nothing, FORM_TYPE))[1]["file"] == []
    assert (await send(box, "/file", nothing, FORM_TYPE))[0] == 400


async def test_files_where_they_do_not_belong(box: Box) -> None:
    as_text = part(FILE.replace('"file"', '"content"')) + b"--b--"
    text_as_file = part(NAMED.replace("content", "file")) + b"--b--"
    two = part(FILE) * 2 + b"--b--"
    for data in (as_text, text_as_file, two):
        assert (await send(box, "/any", data, FORM_TYPE))[0] == 400
    for value in ("a", ["a"], {"data": "a"}, None):
        assert (await send(box, "/any", orjson.dumps({"files": value}), JSON))[0] == 400
    assert (await send(box, "/any", b'{"files": []}', JSON))[0] == 200
    assert (await send(box, "/any", part(FILE.replace('"file"', '"none"')) + b"--b--", FORM_TYPE))[0] == 200


async def test_a_file_may_be_larger_than_the_server_s_limit_but_not_than_the_route_s(box: Box) -> None:
    around = len(part(FILE, b"") + b"--b--")
    fits = part(FILE, b"x" * (ROUTE_LIMIT - around)) + b"--b--"
    assert (await send(box, "/file", fits, FORM_TYPE))[1]["size"] == ROUTE_LIMIT - around

    async def unannounced(data: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(data), 60_000):
            yield data[at : at + 60_000]

    assert (await send(box, "/file", unannounced(fits), FORM_TYPE))[0] == 200
    for data in (fits + b"-", unannounced(fits + b"-")):
        status, said = await send(box, "/file", data, FORM_TYPE)
        assert (status, said["code"]) == (413, "too_large")


async def test_a_file_is_in_memory_once(box: Box) -> None:
    async def sent() -> AsyncIterator[bytes]:
        yield part(FILE, b"")[:-2]
        for _ in range(60):
            yield b"x" * 65_536
        yield b"\r\n--b--"

    await box.key()
    tracemalloc.start()
    try:
        _, said = await send(box, "/file", sent(), FORM_TYPE)
    finally:
        tracemalloc.stop()
    assert said["size"] == 60 * 65_536
    assert said["peak"] < 1.5 * said["size"]


@pytest.mark.parametrize(
    "type",
    [
        MULTIPART,
        f"{MULTIPART}; bound=b",
        f"{MULTIPART}; boundary=",
        f'{MULTIPART}; boundary="',
        f"{MULTIPART}; boundary={'b' * 71}",
    ],
)
async def test_a_multipart_body_without_a_boundary(box: Box, type: str) -> None:
    status, said = await send(box, "/any", part(NAMED) + b"--b--", type)
    assert (status, said["code"]) == (400, "malformed_body")


@pytest.mark.parametrize("type", [f'{MULTIPART}; boundary="b"', f"{MULTIPART};charset=x; Boundary = b ; x=y"])
async def test_a_boundary_in_other_clothes(box: Box, type: str) -> None:
    assert (await send(box, "/any", part(NAMED) + b"--b--", type))[1]["content"] == "x"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"--", id="half a boundary"),
        pytest.param(b"--b", id="a boundary"),
        pytest.param(b"--b\r\n", id="no headers"),
        pytest.param(b"--b\r\n" + NAMED.encode(), id="cut in the headers"),
        pytest.param(b"--b\r\n" + NAMED.encode() + b"\r\n\r\nx", id="cut in the data"),
        pytest.param(part(NAMED), id="cut before the last boundary"),
        pytest.param(part(NAMED) + b"--b", id="cut in the last boundary"),
        pytest.param(part(NAMED) + b"--b-", id="cut before the last dash"),
        pytest.param(part(NAMED) + b"--bx\r\n--b--", id="more after a boundary"),
        pytest.param(part(NAMED) + b"--c--", id="another boundary"),
        pytest.param(b"--b\r\n\r\nx\r\n--b--", id="a part without headers"),
        pytest.param(part("Content-Type: text/plain") + b"--b--", id="no disposition"),
        pytest.param(part("Content-Disposition: form-data") + b"--b--", id="no name"),
        pytest.param(part('Content-Disposition: form-data; name=""') + b"--b--", id="an empty name"),
        pytest.param(part('Content-Disposition: attachment; name="content"') + b"--b--", id="no form data"),
        pytest.param(part(f"{NAMED}\r\nnonsense") + b"--b--", id="no header"),
        pytest.param(part(f"{NAMED}\r\nX: \x00") + b"--b--", id="a control character"),
        pytest.param(part(f"{NAMED}\nX: y") + b"--b--", id="half a line end"),
        pytest.param(part(f"{NAMED}\r\nX: {'y' * 20_000}") + b"--b--", id="a long header"),
        pytest.param(b"--b\r\n" + b"X: y\r\n" * 5000, id="endless headers"),
        pytest.param(part(f'{NAMED}; a={" " * 3000}"') + b"--b--", id="a long parameter"),
        pytest.param(part(NAMED.replace("content", "\u00fc" * 3000)) + b"--b--", id="a long name"),
        pytest.param(part(f"{NAMED}\r\nContent-Transfer-Encoding: base64") + b"--b--", id="base64"),
        pytest.param(part(NAMED, b"\xff") + b"--b--", id="text that is no UTF-8"),
        pytest.param(part("X: y").replace(b"y", b"\xff") + b"--b--", id="headers that are no UTF-8"),
        pytest.param(part(NAMED, b"") * (PARTS + 1) + b"--b--", id="too many parts"),
        pytest.param(part(NAMED, b"") * 10_000 + b"--b--", id="ten thousand parts"),
        pytest.param(b"\x1f\x8b" * 1000, id="noise"),
    ],
)
async def test_malformed_multipart(box: Box, data: bytes) -> None:
    status, said = await send(box, "/any", data, FORM_TYPE)
    assert (status, said["code"]) == (400, "malformed_body")
    assert (await send(box, "/any", part(NAMED) + b"--b--", FORM_TYPE))[1]["content"] == "x"


def test_a_form_is_refused_as_soon_as_it_is_none() -> None:
    with pytest.raises(MalformedBody, match="longer than"):
        Form(b"b", 10, Spool(disk=False)).feed(b"--b\r\n" + b"X: y\r\n" * 5000)
    with pytest.raises(MalformedBody, match="end of its line"):
        Form(b"b", 10, Spool(disk=False)).feed(part(NAMED) + b"--bx\r\n")


async def test_what_surrounds_the_parts_does_not_count(box: Box) -> None:
    data = b"This is a message in several parts.\r\n" + part(NAMED) + b"--b--\r\nThe end.\r\n--b\r\n"
    assert (await send(box, "/any", data, FORM_TYPE))[1]["content"] == "x"


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=10).filter(
    lambda s: "%22" not in s
)
blobs = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from([b"\r", b"\n", b"-", b"b", b"x"])).map(b"".join))


@settings(max_examples=300, deadline=None, database=None)
@given(
    st.lists(st.tuples(names, names, blobs), max_size=5),
    st.dictionaries(names, st.text(st.characters(exclude_categories=["Cs"]), max_size=50), max_size=5),
    st.integers(1, 90),
)
def test_what_httpx_writes_is_read_however_it_is_cut(
    files: list[tuple[str, str, bytes]], texts: dict[str, str], step: int
) -> None:
    sent, type = encoded(data=texts, files=[(name, (filename, data)) for name, filename, data in files] or {"": b""})
    if not files:
        return
    form = Form(boundary_of(type), 1 << 20, Spool(disk=False))
    for at in range(0, len(sent), step):
        form.feed(sent[at : at + step])
    read = form.close()
    kept: dict[str, Any] = dict(texts)
    for name in dict.fromkeys(name for name, _, _ in files):
        kept[name] = [(filename, data) for other, filename, data in files if other == name]
    assert {n: _plain(v) for n, v in read.items()} == kept


# ---- files on the disk ----------------------------------------------------------------------------------------------


def spooled(*sizes: int) -> bytes:
    return b"".join([part(FILE, bytes(range(256)) * (size // 256)) for size in sizes]) + b"--b--\r\n"


@pytest.fixture
def open_files() -> Callable[[], int]:
    """How many files without a name are open on the disk."""
    return lambda: sum("(deleted)" in str(f.readlink()) for f in Path("/proc/self/fd").iterdir() if f.is_symlink())


async def test_a_spooled_file_is_on_the_disk_and_gone_with_its_request(box: Box, lab: Lab) -> None:
    size = 3 << 20
    body = spooled(size)
    tracemalloc.start()
    try:
        status, said = await send(box, "/spooled", chopped(body), FORM_TYPE)
    finally:
        tracemalloc.stop()
    assert (status, said["size"], said["on disk"]) == (200, size, True)
    assert said["sha256"] == sha256(bytes(range(256)) * (size // 256)).hexdigest()
    assert said["peak"] < size
    assert [file.closed for file in lab.files] == [True]


async def test_a_taken_file_is_the_takers(box: Box, lab: Lab) -> None:
    assert (await send(box, "/spooled", spooled(1024), FORM_TYPE, **{"X-Take": "1"}))[0] == 200
    (file,) = lab.files
    assert not file.closed
    await asyncio.to_thread(file.close)


@pytest.mark.parametrize(
    "body",
    [
        spooled(1 << 20)[:-7],
        spooled(1 << 20, 1 << 20),
        spooled(ROUTE_LIMIT + (1 << 20)),
        part(FILE, b"x" * 300_000) + part("Nonsense"),
    ],
    ids=["cut off", "two files", "too large", "malformed"],
)
async def test_nothing_is_left_of_spooled_files_that_are_refused(
    box: Box, lab: Lab, body: bytes, open_files: Callable[[], int]
) -> None:
    before = await asyncio.to_thread(open_files)
    status, _ = await send(box, "/spooled", chopped(body), FORM_TYPE)
    assert status in (400, 413, 422)
    assert lab.files == []
    assert await asyncio.to_thread(open_files) == before


async def test_parts_without_a_byte_open_no_file_and_only_some_files_are_taken(open_files: Callable[[], int]) -> None:
    before = await asyncio.to_thread(open_files)
    async with Spool(disk=True) as spool:
        empty = b"".join([part(f'Content-Disposition: form-data; name="n{n}"; filename=""', b"") for n in range(900)])
        form = Form(b"b", 1000, spool)
        await spool.work(form.feed, empty)
        assert await asyncio.to_thread(open_files) == before
        await spool.work(form.feed, part(FILE, b"x") * 16 + b"--b\r\n")
        assert await asyncio.to_thread(open_files) == before + 16
        with pytest.raises(MalformedBody, match="more than 16 files"):
            await spool.work(form.feed, part(FILE, b"x")[5:] + b"--b--")
        assert await asyncio.to_thread(open_files) == before + 16
    assert await asyncio.to_thread(open_files) == before


async def test_an_empty_file_on_the_disk_is_one(box: Box, lab: Lab) -> None:
    status, said = await send(box, "/spooled", part(FILE, b"") + b"--b--", FORM_TYPE)
    assert (status, said["size"]) == (200, 0)


async def test_files_stay_open_for_what_is_still_written_when_the_request_is_given_up() -> None:
    spool = Spool(disk=True)
    begun, go = threading.Event(), threading.Event()
    after: list[bool] = []

    def write(data: bytes) -> None:
        file = spool.file()
        begun.set()
        assert go.wait(10)
        after.append(file.closed)
        file.write(data)

    async def request() -> None:
        async with spool:
            await spool.work(write, b"x")

    answering = asyncio.create_task(request())
    await asyncio.to_thread(begun.wait, 10)
    answering.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert after == [False]
    await spool.work(write, b"y")  # what was still to be written is not
    assert after == [False]


async def chopped(data: bytes) -> AsyncIterator[bytes]:
    """Without a length, so that a body that is too large is read until it is."""
    for at in range(0, len(data), 50_000):
        yield data[at : at + 50_000]


def _plain(value: str | tuple[Upload, ...]) -> Any:
    return value if isinstance(value, str) else [(u.filename, u.data) for u in value]


@settings(max_examples=500, deadline=None, database=None)
@given(st.lists(st.one_of(blobs, st.sampled_from([b"\r\n--b", b"\r\n", b"--", part(NAMED), part(FILE)])), max_size=12))
def test_noise_is_read_or_refused(pieces: Iterable[bytes]) -> None:
    form = Form(b"b", 1000, Spool(disk=False))
    try:
        for piece in (b"--b\r\n", *pieces):
            form.feed(piece)
        form.close()
    except MalformedBody:
        pass


# ---- public routes, and what the document says ----------------------------------------------------------------------


async def test_a_public_route_asks_for_no_credentials(box: Box) -> None:
    for headers in ({}, {"Authorization": "Bearer nonsense"}, await box.key()):
        answer = await box.client.get("/lab/whoever", headers=headers)
        assert (answer.status, await answer.json()) == (200, {"user": ""})
    assert (await box.client.get("/lab/private")).status == 401


async def test_a_public_websocket(box: Box) -> None:
    async with box.client.ws_connect("/lab/socket") as socket:
        assert await socket.receive_json() == {"type": "error", "message": "no"}
    assert (await box.client.get("/lab/socket")).status == 400


async def test_the_document_describes_bodies(box: Box) -> None:
    document = await (await box.client.get("/openapi.json")).json()
    await asyncio.to_thread(validate, document)
    operations = {path: next(iter(methods.values())) for path, methods in document["paths"].items()}
    taken = operations["/lab/any"]["requestBody"]
    assert list(taken["content"]) == [JSON, FORM, MULTIPART]
    assert not taken["required"]
    (schema,) = {media["schema"]["$ref"] for media in taken["content"].values()}
    described = document["components"]["schemas"][schema.rsplit("/", 1)[1]]["properties"]
    assert described["files"] == {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "description": "Some files.",
        "default": [],
    }
    assert described["file"]["maxItems"] == 1
    assert operations["/lab/file"]["requestBody"]["required"]
    assert list(operations["/lab/file"]["requestBody"]["content"]) == [MULTIPART]
    assert operations["/lab/socket"]["security"] == []
    assert operations["/lab/any"]["security"]
    assert set(operations["/lab/socket"]["responses"]) == {"101", "400"}
    assert "content" not in operations["/lab/socket"]["responses"]["101"]
