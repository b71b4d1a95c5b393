"""Packs that test a model anywhere, and the devices they run on: local, ssh, adb, emulated, web."""
