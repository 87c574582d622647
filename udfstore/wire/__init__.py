"""Bytes to messages and back. Pure: no runtime, no clock, no operating system."""
