"""Characters that a terminal obeys, shown as escapes: what holds them is one line all the same."""

from __future__ import annotations

import re

# C0, DEL and C1, then embeddings, overrides and isolates of writing direction: no name needs them.
CONTROLS = "\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069"
# Besides, what ends a line in Unicode, and halves of characters, which no encoding can write.
_OBEYED = re.compile(f"[{CONTROLS}\u2028\u2029\ud800-\udfff]")
_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def visible(text: str) -> str:
    """`text` in one line: `\\n`, `\\x1b`, `\\u202e` for what a terminal obeys, else as it is."""
    return _OBEYED.sub(lambda found: _escape(found.group()), text)


def visible_json(document: str) -> str:
    """A JSON document with the same value, in which a terminal finds nothing to obey."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found.group()):04x}", document)


def _escape(character: str) -> str:
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
