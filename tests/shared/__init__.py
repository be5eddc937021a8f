"""Tests of what both services stand on."""
