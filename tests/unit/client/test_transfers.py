"""What a client remembers of transfers, and what the command says of one that has ended."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from artstore.v1 import lifecycle_pb2 as pb
from artstore_client.calls.change_tokens import ChangeTokens
from artstore_client.cli import transfer as command
from artstore_client.cli.patience import News
from artstore_client.transfers import FIRST_SECONDS, TransferCalls


def a_transfer(state: str, token: str = "", **fields: Any) -> pb.Transfer:
    return pb.Transfer(
        transfer_id="t-1",
        file_id="f-1",
        state=pb.TransferState.Value(f"TRANSFER_STATE_{state}"),
        source_storage_element_id="se-01",
        target_storage_element_id="se-02",
        change_token=token,
        **fields,
    )


def transfers(*answers: pb.Transfer) -> tuple[TransferCalls, dict[str, str]]:
    """Of a client whose admin answers these in turn, and what its searches wait for."""
    told = iter(answers)

    async def unary(*_: object, **__: object) -> object:
        return SimpleNamespace(transfer=next(told))

    connection: Any = SimpleNamespace(
        calls=SimpleNamespace(
            unary=unary,
            patience=lambda: SimpleNamespace(note=lambda _: None),
            timeouts=SimpleNamespace(call=5.0),
        ),
        lifecycle=lambda: SimpleNamespace(GetTransfer=None),
        changes=ChangeTokens(),
    )
    return TransferCalls(connection), connection.changes


async def test_the_end_of_a_transfer_is_waited_for_by_searches_unless_it_is_an_old_one() -> None:
    calls, changes = transfers(
        a_transfer("QUEUED"), a_transfer("COMPLETED", "se-02.e.5"), a_transfer("QUEUED")
    )
    await calls.show("t-1")
    await calls.show("t-1")
    assert changes == {"se-02": "se-02.e.5"}


async def test_a_later_change_is_not_forgotten_for_a_transfer_that_ended_before() -> None:
    calls, changes = transfers(a_transfer("COMPLETED", "se-02.e.5"))
    changes["se-02"] = "se-02.e.9"
    await calls.show("t-1")
    assert changes == {"se-02": "se-02.e.9"}
    calls, changes = transfers(a_transfer("QUEUED"), a_transfer("COMPLETED", "se-02.e.5"))
    await calls.show("t-1")
    changes["se-02"] = "se-02.e.9"
    await calls.show("t-1")
    assert changes == {"se-02": "se-02.e.9"}


async def test_an_admin_that_answers_at_once_is_not_asked_all_the_time() -> None:
    calls, _ = transfers(a_transfer("QUEUED"), a_transfer("COPYING"), a_transfer("COMPLETED"))
    began = time.monotonic()
    ended = await calls.wait(a_transfer("QUEUED"))
    assert ended.state == pb.TRANSFER_STATE_COMPLETED
    # Two looks had found nothing new: each is followed by what it did not wait.
    assert time.monotonic() - began >= FIRST_SECONDS * 2.4


def shown(
    monkeypatch: pytest.MonkeyPatch,
    transfer: pb.Transfer,
    *options: str,
    then: pb.Transfer | None = None,
) -> Any:
    calls, _ = transfers(transfer, *([] if then is None else [then]))
    client: Any = SimpleNamespace(transfers=calls)

    def run(work: Any) -> None:
        raise SystemExit(asyncio.run(work(client)) or 0)

    monkeypatch.setattr(command, "run_command", run)
    result = CliRunner().invoke(command.app, ["show", "t-1", *options])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.mark.parametrize(("state", "code"), [("COMPLETED", 0), ("FAILED", 1), ("CANCELLED", 1)])
def test_waiting_for_a_transfer_fails_when_its_file_is_not_there(
    monkeypatch: pytest.MonkeyPatch, state: str, code: int
) -> None:
    assert shown(monkeypatch, a_transfer(state), "--wait").exit_code == code
    assert shown(monkeypatch, a_transfer(state)).exit_code == 0


def test_a_transfer_that_failed_says_what_whoever_asked_for_it_can_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finalize, move = pb.TRANSFER_KIND_FINALIZE, pb.TRANSFER_KIND_MOVE
    told = shown(monkeypatch, a_transfer("FAILED", kind=finalize, attempts=1, error="full")).output
    assert "`artstore finalize f-1`" in told
    assert "attempts" not in told and "retry" not in told
    told = shown(monkeypatch, a_transfer("FAILED", kind=move, attempts=10, error="full")).output
    assert "after 10 attempts" in told and "`artstore transfer retry t-1`" in told


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_who_waits_for_a_transfer_is_told_why_soon_and_then_now_and_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    news = News(clock)
    for seconds, why in ((1.9, "new"), (2.1, "new"), (5, "new"), (6, "full"), (7, "full")):
        clock.now = 100 + seconds
        news.tell("queued", why)
    clock.now += 10
    news.tell("copying", "")
    assert capsys.readouterr().err.splitlines() == [
        "artstore: waiting for 2 s: queued (new)",
        "artstore: waiting for 6 s: queued (full)",
        "artstore: waiting for 17 s: copying",
    ]


def test_waiting_for_a_transfer_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(News, "tell", lambda _, how_far, why: told.append((how_far, why)))
    under_way = a_transfer("COPYING", size_bytes=2048, copied_size_bytes=1024, error="slow")
    result = shown(monkeypatch, under_way, "--wait", then=a_transfer("COMPLETED"))
    assert result.exit_code == 0
    assert told == [("copying, 1.0 KiB of 2.0 KiB", "slow")]
