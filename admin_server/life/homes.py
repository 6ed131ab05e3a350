"""Home-making steps on record: one of a file at a time, from before it is sent to its known end.

An Activate that was sent and not answered may still be taken for as long as elements take what was
decided earlier. Until then no other of that file is decided: two of them could make two homes, each
later than all that the other knew of. The same one may be sent again. Each says until when it may
be taken, to the element and on record, so whoever reads the record knows, whatever its settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from admin_server.life.seen import Transfer, TransferKind
from admin_server.life.steps import SWITCHING_RETRY_SECONDS, Activate
from mesh.errors import Aborted, Unavailable
from mesh.postgres.database import Database

DECISIONS_LIVE_SECONDS = 60.0
"""How long after it was decided a step may still change something."""

BEGUN_SHARE = 7 / 12
"""Of that, the share in which an element may begin to take it by its own clock: of 60 s 35. Its
clock may be 5 s behind admin's (`CLOCKS_DIFFER` there), and a call takes 20 s (`STEP_SECONDS`):
what was begun at the last moment has happened before admin counts it as over.
"""

ENDED_KEEP_SECONDS = 600.0
"""How long it is known that one has ended: longer than what was found before can be used."""

# Tables of a dump have other oids, a server that was restored or promoted another timeline. A data
# folder that was put back cold has all as it was but for when its server was started.
_OF_WHAT = """
    SELECT (SELECT string_agg(oid::text, '.' ORDER BY relname) FROM pg_class
            WHERE oid IN ('home_steps'::regclass, 'home_record'::regclass, 'transfers'::regclass))
        || '/' || (SELECT timeline_id FROM pg_control_checkpoint())
        || '/' || extract(epoch FROM pg_postmaster_start_time())
"""
# Asked first: the note takes a row's lock and a commit, which every look would wait for.
_IS_NOTED = f"home_record.of_what = ({_OF_WHAT})"
_TAKE_NOTE = f"""
    INSERT INTO home_record (of_what, since) SELECT ({_OF_WHAT}), clock_timestamp()
    ON CONFLICT (single) DO UPDATE SET of_what = excluded.of_what, since = excluded.since
    WHERE home_record.of_what <> excluded.of_what
"""
# Nothing unless these very tables are noted.
_ON_RECORD = f"""
    SELECT step.element_id, step.home_since, step.digest, step.revision, step.state,
        transfer.kind, transfer.source, transfer.target, of_what AS tables,
        since + make_interval(secs => $2) > clock_timestamp() AS waits,
        since + make_interval(secs => $2) AS waits_until,
        now() AS read_at, taken_until <= now() AS is_over,
        (SELECT ended.target FROM transfers AS ended WHERE ended.file_id = $1
            AND ended.state = 'failed' AND ended.kind = 'finalize' AND ended.source_told
            ORDER BY ended.created_at DESC LIMIT 1) AS finalizes_to
    FROM home_record
    LEFT JOIN home_steps AS step ON step.file_id = $1 AND step.ended_at IS NULL
    LEFT JOIN transfers AS transfer ON transfer.file_id = $1 AND transfer.ended_at IS NULL
    WHERE {_IS_NOTED}
"""


# In one lock each, so that two at a time don't wait for each other's.
_CLEAR = """
    DELETE FROM home_steps WHERE file_id IN (
        SELECT file_id FROM home_steps
        WHERE ended_at < clock_timestamp() - make_interval(secs => $1)
        ORDER BY ended_at LIMIT 100 FOR UPDATE SKIP LOCKED
    )
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentHome:
    """A home-making step that was sent, and whose end is not known.

    Attributes:
        is_over: it was sent so long ago that no element takes it any more.
    """

    element_id: str
    home_since: int
    digest: str
    revision: int | None
    state: str
    is_over: bool

    def is_that(self, step: Activate) -> bool:
        """Whether `step` is the same but for its home_since."""
        return (self.element_id, self.digest, self.revision, self.state) == (
            step.element_id,
            step.digest,
            step.revision,
            step.state.value,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OnRecord:
    """What is on record of a file.

    Attributes:
        read_at: just before this was read, by the database's clock.
        sent: the home-making step whose end is not known.
        waits: the tables are so young that one may have been sent which they do not know.
        tables: which ones these are; others when they are lost, restored, or their server is
            started anew.
        waits_until: when that is over; None where it is.
        transfer: the one that has not ended.
        finalizes_to: where a finalization was to go that was given up after its source was told;
            whoever ends the switch ends it. Empty for none.
    """

    read_at: datetime
    sent: SentHome | None
    waits: bool
    transfer: Transfer | None
    tables: str = ""
    finalizes_to: str = ""
    waits_until: datetime | None = None

    @property
    def may_be_making_home(self) -> bool:
        """Whether a home-making step may still be taken somewhere."""
        return self.waits or (self.sent is not None and not self.sent.is_over)

    @property
    def why_it_waits(self) -> str:
        """What a transfer of the file waits for, for whoever asked for it."""
        if self.waits_until is None:
            return "the file may be changing its home already; the end of that is waited for"
        # A second of which a part is left is not over yet.
        at = self.waits_until.astimezone(UTC) + timedelta(seconds=1)
        return (
            "admin's tables are new or were restored, and what was sent before may still arrive:"
            f" no file changes its home before {at:%H:%M:%S}Z"
        )


class HomeSteps:
    """Reads and writes them; every call raises `Unavailable` while the database is down.

    Args:
        start_delay_seconds: with new or restored tables nothing is sent for so long.
        life_seconds: how long elements may take what is decided here.
    """

    def __init__(
        self,
        database: Database,
        *,
        start_delay_seconds: float = DECISIONS_LIVE_SECONDS,
        life_seconds: float = DECISIONS_LIVE_SECONDS,
    ) -> None:
        self._database = database
        self._start_delay_seconds = start_delay_seconds
        self._life_seconds = life_seconds

    async def note_tables(self) -> None:
        """Note since when there are these tables, if they are new or were restored. Each look does
        so too; done at the start the wait begins there.
        """
        await self._database.execute(_TAKE_NOTE)

    async def of(self, file_id: str) -> OnRecord:
        """What is on record of a file. Ask before the elements are looked at."""
        row = await self._database.fetchrow(_ON_RECORD, file_id, self._start_delay_seconds)
        if row is None:
            await self.note_tables()
            row = await self._database.fetchrow(_ON_RECORD, file_id, self._start_delay_seconds)
        if row is None:
            raise Unavailable("the tables were restored at this moment; ask again")
        sent = transfer = None
        if row["home_since"] is not None:
            sent = SentHome(**{name: row[name] for name in SentHome.__dataclass_fields__})
        if row["kind"] is not None:
            transfer = Transfer(TransferKind(row["kind"]), row["source"], row["target"])
        return OnRecord(
            read_at=row["read_at"],
            sent=sent,
            waits=row["waits"],
            transfer=transfer,
            tables=row["tables"],
            finalizes_to=row["finalizes_to"] or "",
            waits_until=row["waits_until"] if row["waits"] else None,
        )

    async def begin(self, file_id: str, step: Activate, *, on_record: OnRecord) -> bool:
        """Put it on record, before it is sent; whether it was not there already.

        Args:
            on_record: what was read before the elements were looked at.

        Raises:
            Aborted: another one of the file has ended since then: look again.
            Unavailable: another one of the file may still be taken, the tables are too young, or
                others than those that were read.
        """
        if on_record.waits:
            raise home_is_changing(file_id)
        async with self._database.transaction() as connection:
            if not await connection.fetchval(f"SELECT {_IS_NOTED} FROM home_record"):
                await connection.execute(_TAKE_NOTE)
            there = await connection.fetchrow(
                "SELECT ended_at, (element_id, home_since, digest) = ($2, $3::bigint, $4) AS same"
                " FROM home_steps WHERE file_id = $1 FOR UPDATE",
                file_id,
                step.element_id,
                step.home_since,
                step.digest,
            )
            if there is not None and there["ended_at"] and there["ended_at"] > on_record.read_at:
                raise Aborted("the file's home was changed meanwhile; look again", reason="STALE")
            inserted: bool | None = await connection.fetchval(
                "INSERT INTO home_steps AS sent"
                " (file_id, element_id, home_since, digest, revision, state, taken_until)"
                " SELECT $1, $2, $3::bigint, $4, $5::bigint, $6,"
                " clock_timestamp() + make_interval(secs => $8) FROM home_record"
                " WHERE of_what = $7"
                " ON CONFLICT (file_id) DO UPDATE SET"
                " element_id = excluded.element_id,"
                " home_since = excluded.home_since, digest = excluded.digest,"
                " revision = excluded.revision, state = excluded.state,"
                " sent_at = clock_timestamp(), ended_at = NULL,"
                " taken_until = greatest(sent.taken_until, excluded.taken_until)"
                " WHERE coalesce(sent.ended_at, sent.taken_until) <= $9"
                " OR (sent.ended_at IS NULL AND (sent.element_id, sent.home_since, sent.digest)"
                " = (excluded.element_id, excluded.home_since, excluded.digest))"
                " RETURNING xmax = 0",
                file_id,
                step.element_id,
                step.home_since,
                step.digest,
                step.revision,
                step.state.value,
                on_record.tables,
                self._life_seconds,
                on_record.read_at,
            )
        if inserted is None:
            raise home_is_changing(file_id)
        if there is not None:
            return there["ended_at"] is not None or not there["same"]
        # Neither there nor inserted: another admin has put it there just now.
        return inserted

    async def end(self, file_id: str, home_since: int) -> None:
        """Its end is known: it was taken, refused, or can't be taken any more."""
        await self._database.execute(
            "UPDATE home_steps SET ended_at = least(clock_timestamp(), taken_until)"
            " WHERE file_id = $1 AND home_since = $2 AND ended_at IS NULL",
            file_id,
            home_since,
        )
        await self._database.execute(_CLEAR, ENDED_KEEP_SECONDS)


def home_is_changing(file_id: str) -> Unavailable:
    """A home-making step of the file may be under way."""
    return Unavailable(
        f"the home of file {file_id} is being changed, or may be: try again in a minute",
        retry_after_seconds=SWITCHING_RETRY_SECONDS,
        reason="SWITCHING",
    )
