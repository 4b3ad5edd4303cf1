"""The demo: the whole main job on this machine, on a stream that it generates itself."""
