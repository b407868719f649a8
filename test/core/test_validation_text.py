# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a configuration is one line, however much of it is wrong."""

import pytest
from pydantic import BaseModel, ValidationError

from mtl_perception.core.validation_text import error_text, validation_text


class _Part(BaseModel):
    size: int


class _Whole(BaseModel):
    parts: dict[str, _Part]


def test_key_problem_and_value_are_named_and_the_rest_is_counted() -> None:
    with pytest.raises(ValidationError) as caught:
        _Whole.model_validate({"parts": {f"part {number}": {"size": "large" * 100} for number in range(300)}})
    text = validation_text(caught.value)
    assert text.startswith("parts.part 0.size: Input should be a valid integer")
    assert "(it is 'largelarge" in text and text.endswith("; and 290 more")
    assert len(text) < 3500 and "\n" not in text


def test_what_is_no_mapping_at_all_is_said_of_all() -> None:
    with pytest.raises(ValidationError) as caught:
        _Whole.model_validate(7)
    assert validation_text(caught.value).startswith("all of it: ")


def test_the_text_of_any_error_is_one_line_and_no_longer_than_anybody_reads() -> None:
    assert error_text(ValueError("cannot\n  read")) == "cannot read"
    text = error_text(ValueError("x " * 10_000))
    assert text.startswith("x x x") and text.endswith("...") and len(text) == 503
