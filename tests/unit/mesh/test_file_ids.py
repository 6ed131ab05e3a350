"""Ids as people and programs write them."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artstore_client.files import file_ids as of_the_client
from mesh.file_ids import canonical_file_id

FORMS = (
    "{0}",
    "{{{0}}}",
    "urn:uuid:{0}",
    "URN:UUID:{0}",
    " {0}",
    "{0}\n",
    "\t{{{0}}}\r\n",
    "\u00a0{0}\u202f",
    "{{ {0} }}",
)


@given(value=st.uuids(), form=st.sampled_from(FORMS), upper=st.booleans(), hyphens=st.booleans())
def test_every_way_to_write_an_id_is_the_one_id(
    value: uuid.UUID, form: str, upper: bool, hyphens: bool
) -> None:
    text = str(value) if hyphens else value.hex
    written = form.format(text.upper() if upper else text)
    assert canonical_file_id(written) == str(value)
    assert of_the_client.canonical_file_id(written) == str(value)


@given(st.text())
def test_what_is_no_id_stays_as_it_came(text: str) -> None:
    assert canonical_file_id(text) in (text, of_the_client.canonical_file_id(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{019b76da-a800-7ba2-bf08-ba7b2a556ee5",
        "019b76da-a800-7ba2-bf08-ba7b2a556ee5}",
        "019b76da-a800-7ba2-bf08-ba7b2a556ee",
        "019b76da-a800-7ba2-bf08-ba7b2a556ee55",
        "019b76da-a8007ba2-bf08-ba7b2a556e_5",
        "019b76da a800 7ba2 bf08 ba7b2a556ee5",
        "٠19b76da-a800-7ba2-bf08-ba7b2a556ee5",
        "../019b76da-a800-7ba2-bf08-ba7b2a556ee5",
        "019b76da-a800-7ba2-bf08-ba7b2a556ee5\0",
    ],
)
def test_what_only_resembles_an_id_is_none(text: str) -> None:
    assert canonical_file_id(text) == text
