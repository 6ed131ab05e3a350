"""The contract itself: every call says how it may be repeated, every reason has its place."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import EnumDescriptor, MethodDescriptor

from artstore.v1 import errors_pb2, uploads_pb2
from mesh.calls.services import repeatable, services

ROOT = Path(__file__).resolve().parents[3]
SERVERS = ("mesh", "storage_server", "ingest_server", "query_server", "admin_server")
METHODS = [method for service in services().values() for method in service.methods]
# Announced for the life of files and elements; each leaves this list when something answers it.
YET_TO_COME = {"LEASE", "CLOSED", "LOST"}
STATUSES = {
    "InvalidArgument": "INVALID_ARGUMENT",
    "NotFound": "NOT_FOUND",
    "AlreadyExists": "ALREADY_EXISTS",
    "FailedPrecondition": "FAILED_PRECONDITION",
    "StoreReadOnly": "FAILED_PRECONDITION",
    "LegallyHeld": "FAILED_PRECONDITION",
    "Aborted": "ABORTED",
    "OutOfRange": "OUT_OF_RANGE",
    "ResourceExhausted": "RESOURCE_EXHAUSTED",
    "DataLoss": "DATA_LOSS",
    "Unavailable": "UNAVAILABLE",
    "Unauthenticated": "UNAUTHENTICATED",
    "PermissionDenied": "PERMISSION_DENIED",
}


def called(method: MethodDescriptor) -> str:
    return f"{method.containing_service.name}.{method.name}"


@pytest.mark.parametrize("method", METHODS, ids=called)
def test_every_call_says_whether_it_may_be_repeated(method: MethodDescriptor) -> None:
    assert method.GetOptions().HasField("idempotency_level")


def test_what_is_repeated_by_itself_is_what_the_contract_allows() -> None:
    found = repeatable()
    assert "GetFile" in found["artstore.v1.StorageService"]
    assert "CommitUpload" in found["artstore.v1.IngestService"]
    assert "IssueToken" in found["artstore.v1.TokenService"]
    for name in ("Upload", "Download", "UpdateFile", "DeleteFile", "StartUpload", "WatchChanges"):
        assert name not in found["artstore.v1.StorageService"]
    assert set(found["artstore.v1.CacheService"]) == {"ListLocks"}


def words(descriptor: EnumDescriptor) -> set[str]:
    return {value.name.removeprefix("ERROR_REASON_") for value in descriptor.values} - {
        "UNSPECIFIED"
    }


def reasons_in_code() -> dict[str, set[str]]:
    """Reason -> the classes of errors that are raised with it."""
    found: dict[str, set[str]] = defaultdict(set)
    for server in SERVERS:
        for path in (ROOT / server).rglob("*.py"):
            for error, reason in raised(ast.parse(path.read_text())):
                found[reason].add(error)
    return found


def raised(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", None) or getattr(node.func, "id", "")
            for keyword in node.keywords:
                if keyword.arg == "reason" and isinstance(keyword.value, ast.Constant):
                    text = str(keyword.value.value)
                    if re.fullmatch(r"[A-Z][A-Z_]+", text):
                        yield name, text
        if isinstance(node, ast.ClassDef):
            for line in node.body:
                target = line.targets[0] if isinstance(line, ast.Assign) else None
                if isinstance(target, ast.Name) and target.id == "default_reason":
                    text = str(ast.literal_eval(line.value))  # type: ignore[attr-defined]
                    if text:
                        yield node.name, text


def test_the_contract_knows_every_reason_that_a_server_gives_and_no_other() -> None:
    assert words(errors_pb2.ErrorReason.DESCRIPTOR) - YET_TO_COME == set(reasons_in_code())


def test_every_reason_says_the_status_that_it_comes_with() -> None:
    text = (ROOT / "protos/artstore/v1/errors.proto").read_text()
    told = {
        reason: status
        for status, reason in re.findall(
            r"// ([A-Z_]+): (?:[^\n]*\n  // )*[^\n]*\n  ERROR_REASON_([A-Z_]+) = ", text
        )
    }
    assert set(told) == words(errors_pb2.ErrorReason.DESCRIPTOR)
    assert set(told.values()) <= {*STATUSES.values(), "UNIMPLEMENTED"}
    for reason, classes in reasons_in_code().items():
        known = {STATUSES[name] for name in classes if name in STATUSES}
        assert not known or told[reason] in known, reason


def test_every_file_has_its_place_in_go_java_and_csharp() -> None:
    folder = ROOT / "protos/artstore/v1"
    for path in folder.glob("*.proto"):
        file = descriptor_pool.Default().FindFileByName(f"artstore/v1/{path.name}")
        options = file.GetOptions()
        assert options.go_package == "artstore.example/gen/artstore/v1;artstorev1", path.name
        assert options.java_package == "com.artstore.v1", path.name
        assert options.java_multiple_files, path.name
        assert options.csharp_namespace == "ArtStore.V1", path.name


def test_the_numbers_of_upload_headers_stay() -> None:
    fields = uploads_pb2.UploadHeader.DESCRIPTOR.fields
    assert {field.name: field.number for field in fields} == {
        "original_filename": 1,
        "content_type": 2,
        "size_bytes": 3,
        "sha256": 4,
        "description": 5,
        "version": 6,
        "tags": 7,
        "attributes": 8,
        "namespace": 9,
        "retention_policy": 10,
        "retention_days": 11,
        "request_id": 12,
        "copies": 13,
    }
