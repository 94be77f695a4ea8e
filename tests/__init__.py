"""Tests, and what stands for the world in them."""

PATIENCE = 1800.0
"""Seconds after which what a test waits for is taken to hang; no claim about speed, on a busy machine least"""
