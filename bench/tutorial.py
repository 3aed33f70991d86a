"""The task API with FastAPI, SQLModel and Mangum, as most tutorials combine them.

One Session per request from a dependency, `def` routes, HTTPBearer, commit and refresh after a
write. It is faster than many tutorials: no lifespan (`Mangum(app)` alone runs one for each event),
no create_all, no middleware.
"""

import os
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from mangum import Mangum
from sqlalchemy import DateTime
from sqlmodel import Field, Session, SQLModel, create_engine, func, select

engine = create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"))
security = HTTPBearer()
app = FastAPI()


class TaskBase(SQLModel):
    title: str = Field(min_length=1, max_length=200)
    description: str | None = Field(default=None, max_length=1000)
    completed: bool = False


class Task(TaskBase, table=True):
    __tablename__ = "tasks"

    id: int | None = Field(default=None, primary_key=True)
    user_id: str = Field(index=True)
    created_at: datetime | None = Field(
        default=None,
        sa_type=DateTime(timezone=True),
        sa_column_kwargs={"server_default": func.now()},
    )
    updated_at: datetime | None = Field(
        default=None,
        sa_type=DateTime(timezone=True),
        sa_column_kwargs={"server_default": func.now()},
    )


class TaskRead(TaskBase):
    id: int
    user_id: str
    created_at: datetime
    updated_at: datetime


def get_session() -> Iterator[Session]:
    with Session(engine) as session:
        yield session


def verify_token(
    user_id: str, credentials: Annotated[HTTPAuthorizationCredentials, Depends(security)]
) -> str:
    try:
        payload = jwt.decode(
            credentials.credentials, os.environ["BETTER_AUTH_SECRET"], algorithms=["HS256"]
        )
    except jwt.PyJWTError as error:
        raise HTTPException(401, "Invalid token") from error
    if payload["sub"] != user_id:
        raise HTTPException(403, "Not authorized")
    return payload["sub"]


SessionDep = Annotated[Session, Depends(get_session)]
UserDep = Annotated[str, Depends(verify_token)]


@app.get("/api/{user_id}/tasks", response_model=list[TaskRead])
def list_tasks(session: SessionDep, user: UserDep, limit: int | None = None, offset: int = 0):
    statement = (
        select(Task).where(Task.user_id == user).order_by(Task.created_at.desc(), Task.id.desc())
    )
    if limit is not None:
        statement = statement.limit(limit).offset(offset)
    return session.exec(statement).all()


@app.post("/api/{user_id}/tasks", response_model=TaskRead, status_code=201)
def create_task(task: TaskBase, session: SessionDep, user: UserDep):
    row = Task(**task.model_dump(), user_id=user)
    session.add(row)
    session.commit()
    session.refresh(row)
    return row


@app.get("/api/{user_id}/tasks/{task_id}", response_model=TaskRead)
def get_task(task_id: int, session: SessionDep, user: UserDep):
    return _find(session, user, task_id)


@app.patch("/api/{user_id}/tasks/{task_id}/complete", response_model=TaskRead)
def toggle_task(task_id: int, session: SessionDep, user: UserDep):
    row = _find(session, user, task_id)
    row.completed = not row.completed
    row.updated_at = func.now()
    session.add(row)
    session.commit()
    session.refresh(row)
    return row


def _find(session: Session, user: str, task_id: int) -> Task:
    row = session.get(Task, task_id)
    if row is None or row.user_id != user:
        raise HTTPException(404, "Task not found")
    return row


lambda_handler = Mangum(app, lifespan="off")
