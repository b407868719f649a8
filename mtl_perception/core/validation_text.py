# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What pydantic finds wrong with a file's content, in one line of bounded length."""

from __future__ import annotations

from pydantic import ValidationError

_MOST_PROBLEMS = 10
_MOST_CHARACTERS = 100  # of a key, of what is wrong, and of the value


def validation_text(error: ValidationError) -> str:
    """Return the first problems, each with key, what is wrong and the value, and how many more there are."""
    problems = error.errors(include_url=False, include_context=False)
    texts = []
    for problem in problems[:_MOST_PROBLEMS]:
        key = _short(".".join(map(str, problem["loc"])))
        texts.append(f"{key or 'all of it'}: {_short(problem['msg'])} (it is {_short(repr(problem['input']))})")
    more = len(problems) - len(texts)
    return "; ".join(texts) + (f"; and {more} more" if more else "")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MOST_CHARACTERS else f"{line[:_MOST_CHARACTERS]}..."
