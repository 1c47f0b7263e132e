"""Shells at locations, and the job directories they keep. All shell code that we run is in this room and in `move`."""
