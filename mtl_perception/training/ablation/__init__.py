# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Ablation studies: small variants with equal budgets, and which of the sources' relative claims hold here."""
