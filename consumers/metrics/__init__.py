"""What a running program tells of itself: numbers and health over HTTP, spans."""
