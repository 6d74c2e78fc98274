"""Web pages: the demo (live synthesis, conversion, enrollment) and the recorder of `lip2speech adapt`."""
