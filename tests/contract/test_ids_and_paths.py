"""Which paths identify a task, which are refused, and which do not exist."""

import httpx2
import pytest

from tests.contract.responses import assert_error, assert_refused
from tests.contract.users import User, claims_of, mint

ROUTES = ["GET", "HEAD", "PUT", "DELETE", "PATCH"]
NOT_POSITIVE_INTEGERS = [
    "0",
    "-1",
    "+1",
    "-0",
    "00",
    "1.0",
    "1.",
    "1e0",
    "abc",
    "1a",
    "0x1",
    "1_0",
    "1,0",
    "%201",
    "1%20",
    "1%09",
    "1%0A",
    "null",
    "undefined",
    "NaN",
    "true",
    "-9223372036854775809",
    "%2D1",
    "%C3%A9",
    "%F0%9F%A7%B9",
]
BEYOND_BIGINT = [str(2**63), str(2**64), str(10**30), "9" * 1000]
UNUSED_IDS = ["2147483648", str(2**53 + 1), str(2**63 - 1)]


def send(user: User, method: str, task_id: str) -> httpx2.Response:
    url = user.url_of(task_id) + ("/complete" if method == "PATCH" else "")
    return user.send(method, url, json={"title": "changed"} if method == "PUT" else None)


def assert_status(response: httpx2.Response, status: int) -> None:
    if response.request.method == "HEAD":
        assert response.status_code == status
        assert response.content == b""
    else:
        assert_error(response, status)


@pytest.mark.parametrize("method", ROUTES)
@pytest.mark.parametrize("task_id", NOT_POSITIVE_INTEGERS)
def test_an_id_that_is_not_a_positive_integer_is_422(user: User, method: str, task_id: str) -> None:
    assert_status(send(user, method, task_id), 422)


@pytest.mark.parametrize("method", ROUTES)
@pytest.mark.parametrize("task_id", BEYOND_BIGINT, ids=lambda text: f"{len(text)} digits")
def test_an_id_beyond_bigint_is_404(user: User, method: str, task_id: str) -> None:
    assert_status(send(user, method, task_id), 404)


@pytest.mark.parametrize("method", ROUTES)
@pytest.mark.parametrize("task_id", UNUSED_IDS)
def test_an_unused_id_is_404(user: User, method: str, task_id: str) -> None:
    assert_status(send(user, method, task_id), 404)


@pytest.mark.parametrize("spelling", ["{}.0", "+{}", " {}", "{} ", "{}%00", "{}_0", "{}e0"])
def test_no_other_spelling_reaches_a_task(user: User, spelling: str) -> None:
    task = user.create()
    url = user.url_of(spelling.format(task["id"]).replace(" ", "%20"))
    assert_error(user.send("PUT", url, json={"title": "changed"}), 404, 422)
    assert_error(user.send("PATCH", url + "/complete"), 404, 422)
    assert_error(user.send("DELETE", url), 404, 422)
    assert user.list().json() == [task]


@pytest.mark.parametrize(
    "digits", ["０１２３４５６７８９", "٠١٢٣٤٥٦٧٨٩"], ids=["fullwidth", "Arabic"]
)
def test_digits_of_other_scripts_are_refused(user: User, digits: str) -> None:
    task = user.create()
    spelled = "".join(digits[int(digit)] for digit in str(task["id"]))
    assert_error(user.delete(spelled), 404, 422)
    assert user.read(task) == task


def test_leading_zeros_never_return_another_task(user: User) -> None:
    task = user.create()
    response = user.get(f"00{task['id']}")
    assert (response.status_code == 200 and response.json() == task) or assert_error(
        response, 404, 422
    )


@pytest.mark.parametrize(
    "path",
    [
        "/api/nope",
        "/api/{user}/nope",
        "/api/{user}/task",
        "/api/{user}/tasks/{task}/nope",
        "/api/{user}/tasks/{task}/complete/again",
        "/api/{user}/tasks/{task}/Complete",
        "/api/{user}/Tasks",
        "/api/health/nope",
        "/api/health/ready/nope",
        "/api/v1/{user}/tasks",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_an_unknown_path_is_404_for_every_method(user: User, method: str, path: str) -> None:
    task = user.create()
    url = path.format(user=user.id, task=task["id"])
    assert_error(user.send(method, url), 404)
    assert user.read(task) == task


@pytest.mark.parametrize("path", ["/api/nope", "/api/x/nope", "/api/x/tasks/1/nope"])
def test_an_unknown_path_is_404_without_a_token(client: httpx2.Client, path: str) -> None:
    assert_error(client.get(path), 404)


def test_the_user_id_is_compared_exactly(user: User) -> None:
    user.create()
    for other in (user.id.upper(), user.id + "x", user.id[:-1], f"x{user.id}", f"{user.id}."):
        assert_error(user.send("GET", f"/api/{other}/tasks"), 403)


@pytest.mark.parametrize("padding", ["%20", "%09", "%0A", "%00", "%E2%80%8B", "%C2%A0"])
def test_a_padded_user_id_is_another_user(user: User, padding: str) -> None:
    user.create()
    assert_error(user.send("GET", f"/api/{user.id}{padding}/tasks"), 403, 404, 422)
    assert_error(user.send("GET", f"/api/{padding}{user.id}/tasks"), 403, 404, 422)


@pytest.mark.parametrize(
    "path",
    [
        "/api/{user}%2Fx/tasks",
        "/api/x%2F{user}/tasks",
        "/api/x%2F..%2F{user}/tasks",
        "/api/{user}%5C/tasks",
        "/api//tasks",
        "/api/{user}//tasks",
        "/api/%00/tasks",
        "/api/%FF/tasks",
        "/api/%ED%A0%80/tasks",
        "/api/%/tasks",
        "/api/%zz/tasks",
        "/api/{user};x=1/tasks",
    ],
)
def test_encoded_and_empty_parts_of_a_path_never_reach_a_task(user: User, path: str) -> None:
    task = user.create()
    url = path.format(user=user.id, task=task["id"])
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
        assert_refused(user.send(method, url, json={"title": "changed", "completed": True}))
    assert user.list().json() == [task]


def test_an_encoded_slash_is_decoded_or_404(user: User) -> None:
    # Some platforms decode it before the API sees it. It gives no more access than a slash.
    task = user.create()
    for url in (f"{user.url}%2F{task['id']}", f"/api/{user.id}%2Ftasks/{task['id']}"):
        response = user.send("GET", url)
        assert (response.status_code == 200 and response.json() == task) or assert_error(
            response, 404
        )


def test_a_percent_encoded_letter_in_the_user_id_is_decoded_or_refused(user: User) -> None:
    task = user.create()
    once = user.send("GET", f"/api/%{ord(user.id[0]):02X}{user.id[1:]}/tasks")
    if once.status_code == 200:
        assert once.json() == [task]
    else:
        assert_error(once, 403, 404)


def test_a_user_id_is_decoded_at_most_once(user: User) -> None:
    user.create()
    assert_error(user.send("GET", f"/api/%25{ord(user.id[0]):02X}{user.id[1:]}/tasks"), 403, 404)


@pytest.mark.parametrize("shape", ["{}", "{}.name", "{}_1-2", "A{}Z", "{0}{0}"])
def test_user_ids_of_letters_digits_dots_dashes_and_underscores_work(
    user: User, secret: str, shape: str
) -> None:
    user_id = shape.format(user.id)
    other = User(user.client, user_id, mint(secret, **claims_of(user_id)))
    response = other.post({"title": "Buy milk"})
    assert response.status_code == 201
    assert response.headers["Location"] == f"/api/{user_id}/tasks/{response.json()['id']}"
    assert other.list().json() == [response.json()]
    assert response.json()["user_id"] == user_id


@pytest.mark.parametrize(
    ("user_id", "path"),
    [
        ("auth0|{}", "auth0%7C{}"),
        ("{}@example.test", "{}@example.test"),
        ("{}@example.test", "{}%40example.test"),
        ("{}:1", "{}:1"),
        ("{}+1", "{}+1"),
        ("{} 1", "{}%201"),
        ("{}é", "{}%C3%A9"),
        ("{}%20", "{}%2520"),
        ("{}/1", "{}%2F1"),
        ("{}?x", "{}%3Fx"),
    ],
)
def test_an_unusual_user_id_works_or_is_refused(
    user: User, secret: str, user_id: str, path: str
) -> None:
    full_id = user_id.format(user.id)
    token = mint(secret, **claims_of(full_id))
    url = f"/api/{path.format(user.id)}/tasks"
    response = user.client.post(
        url, json={"title": "Buy milk"}, headers={"Authorization": f"Bearer {token}"}
    )
    if response.status_code == 201:
        assert response.json()["user_id"] == full_id
        found = user.client.get(
            response.headers["Location"], headers={"Authorization": f"Bearer {token}"}
        )
        assert found.status_code == 200
        assert found.json() == response.json()
    else:
        assert_refused(response)
    assert user.list().json() == []
