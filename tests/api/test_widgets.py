"""The files that pages of others load."""

from __future__ import annotations

import httpx

from app.settings import PROJECT_ROOT
from tests.support.application import running_client
from tests.support.postgres import Clone

SCRIPT = PROJECT_ROOT / "app" / "widgets" / "realtime.js"
PATH = "/widgets/realtime.js"


async def test_the_script(client: httpx.AsyncClient) -> None:
    answer = await client.get(PATH)
    assert (answer.status_code, answer.content) == (200, SCRIPT.read_bytes())
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers.get_list("cross-origin-resource-policy") == ["cross-origin"]
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert answer.headers["vary"] == "Origin"
    assert "access-control-allow-origin" not in answer.headers
    elsewhere = await client.get("/api/v1/public/health")
    assert elsewhere.headers.get_list("cross-origin-resource-policy") == ["same-site"]


async def test_it_is_sent_once(client: httpx.AsyncClient) -> None:
    tag = (await client.get(PATH)).headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = await client.get(PATH, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await client.get(PATH, headers={"If-None-Match": '"other"'})).status_code == 200
    assert (await client.get("/widgets/other.js")).status_code == 404
    assert (await client.post(PATH)).status_code == 405


async def test_pages_of_listed_origins_may_import_it(database: Clone) -> None:
    async with running_client(database.settings(cors_origins=("https://fans.example",))) as client:
        ours = await client.get(PATH, headers={"Origin": "https://fans.example"})
        assert ours.headers["access-control-allow-origin"] == "https://fans.example"
        assert ours.headers.get_list("vary") == ["Origin"]
        other = await client.get(PATH, headers={"Origin": "https://other.example"})
        assert "access-control-allow-origin" not in other.headers
