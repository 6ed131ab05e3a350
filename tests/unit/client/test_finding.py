"""Where a file is found and changed, and what it means when no element gives it."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from artstore.v1 import elements_pb2, registry_pb2, types_pb2
from artstore_client import errors
from artstore_client.calls.directory import ElementDirectory
from artstore_client.calls.retry import Backoff, Patience
from artstore_client.files import finding
from artstore_client.files.changing import at_home
from artstore_client.files.finding import find_file, verdict

Said = types_pb2.File | errors.ArtStoreError


class Mesh:
    """A connection to elements; `listed` is what admin lists, `says` what elements answer."""

    def __init__(self, says: Mapping[str, Said | list[Said]] | None = None) -> None:
        self.says = dict(says or {})
        self.listed = list(self.says) or ["se-01"]
        self.replicas: list[registry_pb2.Replica] = []
        self.asked: list[str] = []
        self.directory = ElementDirectory(pinned={}, seeds={}, ask=self._list)
        self.elements = self.directory.known
        self.calls: Any = SimpleNamespace(patience=lambda: Patience(60.0, backoff=Backoff(0.0)))

    async def _list(self) -> list[elements_pb2.StorageElement]:
        return [elements_pb2.StorageElement(storage_element_id=n, endpoint=n) for n in self.listed]

    async def registered(self, _: str) -> registry_pb2.FileRegistryServiceGetFileResponse:
        return registry_pb2.FileRegistryServiceGetFileResponse(replicas=self.replicas)

    async def storage(self, element_id: str) -> str:
        return element_id

    async def at_element(self, element_id: str, _: Any) -> types_pb2.File:
        self.asked.append(element_id)
        said = self.says.get(element_id, MISSING)
        if isinstance(said, list):
            said = said.pop(0) if len(said) > 1 else said[0]
        if isinstance(said, errors.ArtStoreError):
            raise said
        return said


MISSING = errors.NotFound("no such file")
SILENT = errors.Unavailable("silent")


def a_file(state: str, since: int = 1, revision: int = 1, to: str = "") -> types_pb2.File:
    return types_pb2.File(
        file_id="x",
        state=types_pb2.FileState.Value(f"FILE_STATE_{state.upper()}"),
        home_since=since,
        revision=revision,
        moved_to=to,
    )


def replica(element_id: str, state: str, since: int = 1) -> registry_pb2.Replica:
    number = types_pb2.FileState.Value(f"FILE_STATE_{state.upper()}")
    return registry_pb2.Replica(
        storage_element_id=element_id, state=number, home_since=since, revision=1
    )


async def where(mesh: Any) -> tuple[str, str]:
    element_id, file = await find_file(mesh, "x")
    return element_id, types_pb2.FileState.Name(file.state).removeprefix("FILE_STATE_")


async def test_the_registrys_home_is_asked_alone() -> None:
    mesh = Mesh({"a": a_file("copy"), "b": a_file("active")})
    mesh.replicas = [replica("a", "copy"), replica("b", "active")]
    assert await where(mesh) == ("b", "ACTIVE")
    assert mesh.asked == ["b"]


async def test_where_a_file_went_is_followed_whatever_the_registry_says() -> None:
    mesh = Mesh(
        {
            "a": errors.NotFound("gone", metadata={"moved_to": "b"}),
            "b": a_file("moved", 2, 3, "c"),
            "c": a_file("active", 3, 4),
        }
    )
    mesh.replicas = [replica("a", "active")]
    assert await where(mesh) == ("c", "ACTIVE")
    assert mesh.asked == ["a", "b", "c"]


async def test_a_file_that_came_back_to_where_it_was_asked_for_first_is_found() -> None:
    gone = errors.NotFound("gone", metadata={"moved_to": "b"})
    mesh = Mesh({"a": [gone, a_file("active", 3, 5)], "b": a_file("moved", 2, 4, "a")})
    mesh.replicas = [replica("a", "active")]
    assert await where(mesh) == ("a", "ACTIVE")


@pytest.mark.parametrize("target", [MISSING, SILENT, a_file("incoming")])
async def test_while_a_file_changes_its_home_the_source_gives_it(target: Said) -> None:
    mesh = Mesh({"a": a_file("moved", 1, 2, "b"), "b": target})
    assert await where(mesh) == ("a", "MOVED")
    mesh.replicas = [replica("a", "active"), replica("b", "incoming")]
    assert await where(mesh) == ("a", "MOVED")


async def test_copies_give_a_file_whose_home_is_silent() -> None:
    mesh = Mesh({"a": SILENT, "b": a_file("copy")})
    mesh.replicas = [replica("a", "active"), replica("b", "copy")]
    assert await where(mesh) == ("b", "COPY")
    mesh.replicas = []
    assert await where(mesh) == ("b", "COPY")


@pytest.mark.parametrize(
    "others",
    [
        {"b": a_file("copy", 1, 3)},
        {"b": a_file("moved", 1, 2, "a")},
        # An older store that was restored.
        {"b": a_file("active", 1, 9)},
        {"b": SILENT},
    ],
)
@pytest.mark.parametrize("registered", [True, False])
async def test_a_tombstone_and_nothing_later_is_a_deleted_file(
    others: dict[str, Said], registered: bool
) -> None:
    mesh = Mesh({"a": a_file("deleted", 2, 3), **others})
    if registered:
        mesh.replicas = [replica("a", "active", 2), replica("b", "copy")]
    with pytest.raises(errors.NotFound) as deleted:
        await where(mesh)
    assert deleted.value.reason == "FILE_DELETED"


async def test_a_tombstone_hides_no_later_home() -> None:
    mesh = Mesh({"a": a_file("deleted", 1, 9), "b": a_file("active", 2, 3)})
    assert await where(mesh) == ("b", "ACTIVE")
    mesh.replicas = [replica("a", "active", 1), replica("b", "copy", 2)]
    assert await where(mesh) == ("b", "ACTIVE")


async def test_a_file_that_slipped_by_is_asked_for_again() -> None:
    """It left `a` before that was asked, and came to `b` after that was."""
    gone = errors.NotFound("gone", metadata={"moved_to": "b"})
    mesh = Mesh({"a": gone, "b": [MISSING, a_file("active", 2, 2)]})
    assert await where(mesh) == ("b", "ACTIVE")


async def test_a_stub_whose_file_nobody_has_is_no_proof_that_it_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(finding, "ROUND_SECONDS", 0)
    mesh = Mesh({"a": errors.NotFound("gone", metadata={"moved_to": "b"}), "b": MISSING})
    with pytest.raises(errors.Unavailable) as away:
        await where(mesh)
    assert away.value.reason == "SWITCHING"


async def test_only_a_silent_element_leaves_open_whether_there_is_a_file() -> None:
    mesh = Mesh({"a": MISSING, "b": SILENT})
    with pytest.raises(errors.Unavailable):
        await where(mesh)
    mesh.says["b"] = MISSING
    with pytest.raises(errors.NotFound):
        await where(mesh)


async def changed(mesh: Any, answers: Mapping[str, list[errors.ArtStoreError | str]]) -> str:
    async def change(stub: Any, element_id: str) -> str:
        answer = answers[element_id].pop(0)
        if isinstance(answer, errors.ArtStoreError):
            raise answer
        return answer

    return (await at_home(mesh, "x", change))[0]


def refused(reason: str, **metadata: str) -> errors.FailedPrecondition:
    return errors.FailedPrecondition("elsewhere", reason=reason, metadata=metadata)


async def test_a_change_goes_where_the_file_went_and_waits_while_it_goes() -> None:
    mesh = Mesh({"a": a_file("active"), "b": a_file("copy"), "c": MISSING})
    switching = errors.Unavailable("on its way", reason="SWITCHING")
    answers = {
        "a": [switching, refused("MOVED", moved_to="b")],
        "b": [refused("NOT_HOME", home="c")],
        "c": ["changed"],
    }
    assert await changed(mesh, answers) == "c"


async def test_a_change_that_elements_send_to_and_fro_is_tried_until_one_takes_it() -> None:
    mesh = Mesh({"a": a_file("active"), "b": a_file("copy")})
    answers = {
        "a": [refused("MOVED", moved_to="b"), "changed"],
        "b": [refused("NOT_HOME", home="a")],
    }
    assert await changed(mesh, answers) == "a"


async def test_the_home_of_a_copy_that_names_none_is_looked_for() -> None:
    mesh = Mesh({"a": SILENT, "b": a_file("copy")})
    mesh.replicas = [replica("a", "active"), replica("b", "copy")]
    with pytest.raises(errors.Unavailable) as silent:
        await changed(mesh, {"b": [refused("NOT_HOME")]})
    assert silent.value.metadata == {"storage_element_ids": "a"}
    mesh.says["a"] = [SILENT, a_file("active")]
    assert await changed(mesh, {"b": [refused("NOT_HOME")], "a": ["changed"]}) == "a"


async def test_a_change_that_its_home_refuses_is_refused() -> None:
    mesh = Mesh({"a": a_file("active")})
    with pytest.raises(errors.FailedPrecondition) as told:
        await changed(mesh, {"a": [refused("LEGAL_HOLD")]})
    assert told.value.reason == "LEGAL_HOLD"


async def test_an_element_that_was_added_after_the_last_look_is_asked_too() -> None:
    mesh = Mesh()
    connection: Any = mesh
    with pytest.raises(errors.NotFound):
        await find_file(connection, "x")
    mesh.listed.append("se-04")
    with pytest.raises(errors.NotFound) as missing:
        await find_file(connection, "x")
    assert mesh.asked == ["se-01", "se-01", "se-04"]
    assert "se-01, se-04" in missing.value.message


def test_file_is_missing_only_when_all_say_so() -> None:
    answer = verdict("id", {"se-01": errors.NotFound("x"), "se-02": errors.NotFound("x")})
    assert isinstance(answer, errors.NotFound)
    assert "se-01, se-02" in answer.message


def test_silent_element_makes_it_unknown() -> None:
    failures = {
        "se-01": errors.NotFound("x"),
        "se-02": errors.Unavailable("down", retry_after_seconds=7),
        "se-03": errors.DeadlineExceeded("slow"),
    }
    answer = verdict("id", failures)
    assert isinstance(answer, errors.Unavailable)
    assert answer.retry_after_seconds == 7
    assert "se-02: down" in answer.message
    assert "se-03: slow" in answer.message


def test_refusal_is_told_before_silence() -> None:
    refusal = errors.PermissionDenied("no role")
    failures = {"se-01": errors.Unavailable("down"), "se-02": refusal}
    assert verdict("id", failures) is refusal


def test_silent_elements_are_named_for_programs_too() -> None:
    failures = {"se-01": errors.NotFound("x"), "se-04": errors.Unavailable("down")}
    answer = verdict("id", failures)
    assert answer.metadata == {"storage_element_ids": "se-04"}


def test_tombstone_decides_while_others_are_silent() -> None:
    deleted = errors.NotFound("x", reason="FILE_DELETED")
    answer = verdict("id", {"se-01": deleted, "se-02": errors.Unavailable("down")})
    assert isinstance(answer, errors.NotFound)
    assert answer.reason == "FILE_DELETED"
    assert "`artstore restore id`" in answer.message


def test_missing_file_says_when_admin_could_not_tell_of_other_elements() -> None:
    answer = verdict("id", {"se-01": errors.NotFound("x")}, doubt="admin is away")
    assert isinstance(answer, errors.NotFound)
    assert "admin is away" in answer.message


@pytest.mark.parametrize("state", [types_pb2.FILE_STATE_MOVED, types_pb2.FILE_STATE_COPY])
@pytest.mark.parametrize("registered", [["se-02"], []])
async def test_what_its_home_says_has_expired_is_not_described_by_a_copy(
    state: types_pb2.FileState.ValueType, registered: list[str]
) -> None:
    class Copied(Mesh):
        async def registered_homes(self, _: str) -> list[str]:
            return registered

        async def at_element(self, element_id: str, _: Any) -> types_pb2.File:
            if element_id == "se-02":
                raise errors.NotFound("over", reason="EXPIRED")
            return types_pb2.File(file_id="x", state=state)

    mesh = Copied()
    mesh.listed = ["se-01", "se-02"]
    connection: Any = mesh
    with pytest.raises(errors.NotFound) as refused:
        await find_file(connection, "x")
    assert refused.value.reason == "EXPIRED"
    assert "`artstore keep`" in refused.value.message


async def test_of_a_silent_home_its_copys_text_says_that_the_file_has_expired() -> None:
    over = a_file("copy")
    over.expires_at.FromSeconds(1)
    mesh = Mesh({"a": SILENT, "b": over})
    mesh.replicas = [replica("a", "active"), replica("b", "copy")]
    with pytest.raises(errors.NotFound) as refused:
        await where(mesh)
    assert refused.value.reason == "EXPIRED"
    mesh.says["a"] = a_file("active")
    assert await where(mesh) == ("a", "ACTIVE")
