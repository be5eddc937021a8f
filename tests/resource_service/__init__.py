"""Tests of the resource service."""
