"""How well a stream's model answers: realised on matured outcomes, estimated before they come."""
