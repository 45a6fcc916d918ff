"""Profiles of `./reproduce.sh`: one file each, named as the profile, that declares `TABLES`, a tuple of `Sweep`."""
