"""Jobs: a DAG of tasks, submitted whole."""

from __future__ import annotations

from aiohttp import web

from styx.api import bodies, reply, requests
from styx.api.reply import plane
from styx.api.sse import STREAMS
from styx.protocol.http import JobResult

__all__ = ["cancel", "index", "plan", "retry", "show", "submit", "tasks", "wait"]


async def submit(request: web.Request) -> web.Response:
    """A DAG document, in the shape of a task file. Accepted and on disk when this answers."""
    from styx.protocol.document import read_job

    requests.query(request, requests.NoQuery)
    key = requests.idempotency_key(request)
    spec, secrets = await bodies.submission(request, read_job)
    return reply.created(await plane(request).submit_spec(spec, key=key, secrets=secrets))


async def plan(request: web.Request) -> web.Response:
    """Check a document without submitting it: its shape, and where its tasks could go."""
    from styx.protocol.document import read_job

    asked = requests.query(request, requests.PlanQuery)
    spec = await bodies.document(request, read_job)
    return reply.json(await plane(request).plan(spec, offers=asked.offers, usable=asked.usable))


async def index(request: web.Request) -> web.Response:
    """Jobs, newest first."""
    asked = requests.query(request, requests.JobsQuery)
    return reply.page(
        await plane(request).jobs(limit=asked.limit, cursor=asked.cursor, status=asked.status, name=asked.name)
    )


async def show(request: web.Request) -> web.Response:
    """One job with its tasks."""
    return reply.json(await plane(request).job(request.match_info["ref"]))


async def tasks(request: web.Request) -> web.Response:
    """The tasks of a job in order."""
    asked = requests.query(request, requests.ElementsQuery)
    ref = request.match_info["ref"]
    return reply.page(await plane(request).tasks(job=ref, limit=asked.limit, cursor=asked.cursor))


async def cancel(request: web.Request) -> web.Response:
    """Stop a job, a task or an element. `cancelled` is false when nothing was live any more."""
    asked = await bodies.read(request, requests.Cancel)
    done = await plane(request).cancel(request.match_info["ref"], reason=asked.reason)
    return reply.json({"cancelled": done})


async def retry(request: web.Request) -> web.Response:
    """Run again; answers how many elements will."""
    asked = await bodies.read(request, requests.Retry)
    count = await plane(request).retry(request.match_info["ref"], failed=asked.failed, start=asked.start)
    return reply.json({"elements": count})


async def wait(request: web.Request) -> web.Response:
    """The end of the job; 504 when it has not come within `timeout` seconds: ask again."""
    asked = requests.query(request, requests.WaitQuery)
    request.app[STREAMS].add()
    result: JobResult = await plane(request).wait(request.match_info["ref"], timeout=asked.timeout)
    return reply.json(result)
