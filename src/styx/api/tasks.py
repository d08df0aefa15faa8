"""Tasks: single commands, the nodes of jobs, and the elements of arrays (`TASKID.INDEX`)."""

from __future__ import annotations

from aiohttp import web

from styx.api import bodies, reply, requests
from styx.api.reply import plane

__all__ = ["elements", "index", "resolve", "show", "submit", "why"]


async def submit(request: web.Request) -> web.Response:
    """One task: {"name", "command", "args", ...}. A job of its own is made for it."""
    from styx.protocol.document import read_task

    requests.query(request, requests.NoQuery)
    key = requests.idempotency_key(request)
    spec, secrets = await bodies.submission(request, read_task)
    return reply.created(await plane(request).submit_spec(spec, key=key, secrets=secrets))


async def index(request: web.Request) -> web.Response:
    """Tasks, newest job first; of one job with `?job=`."""
    asked = requests.query(request, requests.TasksQuery)
    return reply.page(await plane(request).tasks(job=asked.job, limit=asked.limit, cursor=asked.cursor))


async def show(request: web.Request) -> web.Response:
    """A task or an element, with its attempts."""
    return reply.json(await plane(request).task(request.match_info["ref"]))


async def elements(request: web.Request) -> web.Response:
    """The elements of an array by index."""
    asked = requests.query(request, requests.ElementsQuery)
    ref = request.match_info["ref"]
    return reply.page(await plane(request).elements(ref, limit=asked.limit, cursor=asked.cursor))


async def why(request: web.Request) -> web.Response:
    """Why it is where it is, and what would change that."""
    return reply.json(await plane(request).why(request.match_info["ref"]))


async def resolve(request: web.Request) -> web.Response:
    """What a reference names: an id, the beginning or end of one, `@latest`, `JOB/TASK`."""
    asked = requests.query(request, requests.ResolveQuery)
    return reply.json(await plane(request).resolve(asked.ref))
