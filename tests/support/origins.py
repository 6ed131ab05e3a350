"""Where changes of tests come from."""

from __future__ import annotations

from storage_server.domain.origin import Cause, Origin

BY_ALICE = Origin(Cause.CALLER, "alice", "call-1")
BY_BOB = Origin(Cause.CALLER, "bob", "call-2", "a reason")
