# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Services answer whatever a request holds."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

from mtl_perception.mapping import MapFormatError


def attempted(action: Callable[[], str], logger: Any) -> tuple[bool, str]:
    """Return whether an action could be done, and what it returns or why it could not be; errors are logged, too."""
    try:
        return True, action()
    except (MapFormatError, ValueError, OSError) as error:
        logger.error(str(error))
        return False, str(error)
    except CancelledError:
        return False, "the node was cleaned up"
    except Exception as error:  # the caller must get an answer, and the node go on
        reason = f"internal error: {type(error).__name__}: {error}"
        logger.error(f"{reason}\n{traceback.format_exc()}")
        return False, reason
