"""Ways in which a sidecar cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from storage_server.domain.file_id import new_file_id
from tests.support.cache_rig import utc_now

Break = Callable[[bytes], bytes]


def with_member(name: str, value: Any) -> Break:
    return lambda content: orjson.dumps({**orjson.loads(content), name: value})


def with_text(old: str, new: str) -> Break:
    return lambda content: content.replace(old.encode(), new.encode(), 1)


BREAKS: dict[str, Break] = {
    "truncated": lambda content: content[: len(content) // 2],
    "not JSON": lambda content: b"\x00\xff not json",
    "not UTF-8": lambda content: content.replace(b"alice", b"al\xffce"),
    "a list": lambda content: b"[" + content + b"]",
    "wrong type": with_member("size_bytes", "many"),
    "wrong type in a list": with_member("tags", ["a", 7]),
    "a required field missing": with_text('"sha256":', '"sha-256":'),
    "NUL in a text": with_text('"description":""', '"description":"a\\u0000b"'),
    "a lone surrogate": with_text('"description":""', '"description":"\\ud800"'),
    "an integer over 64 bit": with_text('"revision":1', '"revision":36893488147419103232'),
    "a huge integer": with_text('"revision":1', '"revision":' + "9" * 1000),
    "an unknown integer over 64 bit": with_text('{"schema', '{"x":36893488147419103232,"schema'),
    "a name twice": with_text('"version":""', '"version":"","version":"2"'),
    "deep nesting": with_text('{"schema', '{"x":' + "[" * 900 + "]" * 900 + ',"schema'),
    "too large": lambda content: content[:-1] + b',"x":"' + b"y" * 5000 + b'"}',
    "another file's id": with_member("file_id", new_file_id(utc_now())),
    "an id that is none": with_member("file_id", "7"),
    "another place": with_member("storage_path", "2020/01/01/01"),
    "a newer schema": with_member("schema_version", 2),
    "no bytes": lambda content: b"",
    "an unknown state": with_member("state", "lost"),
    "no time": with_member("created_at", "yesterday"),
}
