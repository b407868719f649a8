# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Stages of a pipeline: order, bounds, and errors that end it all."""

import threading
import time

import pytest

from mtl_perception.evaluation.stages import Stage, ahead


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_a_stage_does_everything_in_order_before_it_ends():
    done: list[int] = []

    def slowly(item: int) -> None:
        time.sleep(0.002)
        done.append(item)

    with Stage("slow", slowly, waiting=2) as stage:
        for item in range(20):
            stage.submit(item)
    assert done == list(range(20)) and "slow" not in threads()


def test_no_more_than_asked_for_waits_in_front_of_a_stage():
    free = threading.Event()
    begun: list[int] = []

    def wait(item: int) -> None:
        begun.append(item)
        free.wait()

    submitted: list[int] = []
    with Stage("waiting", wait, waiting=2) as stage:

        def submit() -> None:
            for item in range(10):
                stage.submit(item)
                submitted.append(item)

        thread = threading.Thread(target=submit)
        thread.start()
        time.sleep(0.3)
        assert begun == [0] and submitted == [0, 1, 2]
        free.set()
        thread.join()
    assert begun == list(range(10))


def test_what_goes_wrong_in_a_stage_is_raised_where_it_is_fed():
    def fail(item: int) -> None:
        if item == 3:
            raise KeyError("three")

    with pytest.raises(KeyError, match="three"), Stage("failing", fail) as stage:
        for item in range(1000):
            stage.submit(item)
    assert "failing" not in threads()


def test_an_error_of_the_last_item_is_not_lost():
    def fail(item: int) -> None:
        raise KeyError(item)

    with pytest.raises(KeyError), Stage("failing", fail) as stage:
        stage.submit(1)


def test_after_an_error_outside_nothing_more_is_begun():
    done: list[int] = []
    begun, free = threading.Event(), threading.Event()

    def wait(item: int) -> None:
        begun.set()
        free.wait()
        done.append(item)

    with pytest.raises(RuntimeError, match="outside"), Stage("left", wait) as stage:
        for item in range(4):
            stage.submit(item)
        begun.wait()
        threading.Timer(0.2, free.set).start()
        raise RuntimeError("outside")
    assert done == [0] and "left" not in threads()


def test_reading_ahead_keeps_order_and_its_bound():
    taken: list[int] = []

    def items():
        for item in range(10):
            taken.append(item)
            yield item

    read = ahead(items(), 3)
    assert next(read) == 0
    time.sleep(0.3)
    assert len(taken) <= 6  # one given, three waiting, one in hand, one asked for
    assert list(read) == list(range(1, 10))


def test_an_error_of_the_source_comes_after_what_was_before_it():
    def items():
        yield 1
        yield 2
        raise ValueError("end")

    read = ahead(items(), 5)
    assert [next(read), next(read)] == [1, 2]
    with pytest.raises(ValueError, match="end"):
        next(read)


def test_who_leaves_early_leaves_no_thread():
    read = ahead(iter(range(1000)), 2)
    next(read)
    read.close()
    assert "read ahead" not in threads()
