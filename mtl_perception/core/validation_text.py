# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What other libraries find wrong with a file's content, in one line of bounded length."""

from __future__ import annotations

from pydantic import ValidationError

_MOST_PROBLEMS = 10
_MOST_CHARACTERS = 100  # of a key, of what is wrong, and of the value
_MOST_OF_ALL = 500  # of an error's text, which may have the whole file in it


def validation_text(error: ValidationError) -> str:
    """Return the first problems, each with key, what is wrong and the value, and how many more there are."""
    problems = error.errors(include_url=False, include_context=False)
    texts = []
    for problem in problems[:_MOST_PROBLEMS]:
        key = _line(".".join(map(str, problem["loc"])))
        texts.append(f"{key or 'all of it'}: {_line(problem['msg'])} (it is {_line(repr(problem['input']))})")
    more = len(problems) - len(texts)
    return "; ".join(texts) + (f"; and {more} more" if more else "")


def error_text(error: Exception) -> str:
    """Return the text of any error, without line breaks and not longer than 500 characters."""
    return _line(str(error), _MOST_OF_ALL)


def _line(text: str, most: int = _MOST_CHARACTERS) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most]}..."
