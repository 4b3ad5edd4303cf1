"""What the console knows without a socket: windows, states, queries, sessions."""
