"""The task API with FastAPI and asyncpg, as experienced developers write it for a server.

One pool of connections, `async def` routes, SQL as text in prepared statements (asyncpg's default),
and return types, from which Pydantic writes the JSON. There is no ORM and no session.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated

import asyncpg
import jwt
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field

SECRET = os.environ["BETTER_AUTH_SECRET"]
CONNECTIONS = int(os.environ.get("DATABASE_POOL_SIZE", "8"))  # as this API
COLUMNS = "id, user_id, title, description, completed, created_at, updated_at"
LIST = f"SELECT {COLUMNS} FROM tasks WHERE user_id = $1 ORDER BY created_at DESC, id DESC"
PAGE = f"{LIST} LIMIT $2 OFFSET $3"
GET = f"SELECT {COLUMNS} FROM tasks WHERE user_id = $1 AND id = $2"
CREATE = f"""INSERT INTO tasks (user_id, title, description, completed)
VALUES ($1, $2, $3, $4) RETURNING {COLUMNS}"""
TOGGLE = f"""UPDATE tasks SET completed = NOT completed, updated_at = now()
WHERE user_id = $1 AND id = $2 RETURNING {COLUMNS}"""


class TaskCreate(BaseModel):
    title: str = Field(min_length=1, max_length=200)
    description: str | None = Field(default=None, max_length=1000)
    completed: bool = False


class Task(TaskCreate):
    id: int
    user_id: str
    created_at: datetime
    updated_at: datetime


async def keep_session(_: asyncpg.Connection) -> None:
    """No request changes the session: resetting it would take a round trip for each."""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(
        os.environ["DATABASE_URL"], min_size=1, max_size=CONNECTIONS, reset=keep_session
    ) as app.state.pool:
        yield


app = FastAPI(lifespan=lifespan)
bearer = HTTPBearer()


async def get_pool(request: Request) -> asyncpg.Pool:
    return request.app.state.pool


async def verify_token(
    user_id: str, credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]
) -> str:
    try:
        claims = jwt.decode(credentials.credentials, SECRET, algorithms=["HS256"])
    except jwt.PyJWTError as error:
        raise HTTPException(401, "Invalid token") from error
    if claims["sub"] != user_id:
        raise HTTPException(403, "Not authorized")
    return user_id


PoolDep = Annotated[asyncpg.Pool, Depends(get_pool)]
UserDep = Annotated[str, Depends(verify_token)]


@app.get("/api/{user_id}/tasks")
async def list_tasks(
    pool: PoolDep, user: UserDep, limit: int | None = None, offset: int = 0
) -> list[Task]:
    if limit is None:
        rows = await pool.fetch(LIST, user)
    else:
        rows = await pool.fetch(PAGE, user, limit, offset)
    return [dict(row) for row in rows]


@app.post("/api/{user_id}/tasks", status_code=201)
async def create_task(pool: PoolDep, user: UserDep, task: TaskCreate) -> Task:
    row = await pool.fetchrow(CREATE, user, task.title, task.description, task.completed)
    return dict(row)


@app.get("/api/{user_id}/tasks/{task_id}")
async def get_task(pool: PoolDep, user: UserDep, task_id: int) -> Task:
    return _found(await pool.fetchrow(GET, user, task_id))


@app.patch("/api/{user_id}/tasks/{task_id}/complete")
async def toggle_task(pool: PoolDep, user: UserDep, task_id: int) -> Task:
    return _found(await pool.fetchrow(TOGGLE, user, task_id))


def _found(row: asyncpg.Record | None) -> dict[str, object]:
    if row is None:
        raise HTTPException(404, "Task not found")
    return dict(row)
