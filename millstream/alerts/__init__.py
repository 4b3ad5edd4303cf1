"""Alerts: rules, the alarms they raise and resolve, and who is told of them once.

`rules` is what stream.toml may say; `judge` turns numbers into readings; `engine` turns readings
and incidents into alarms; `notify` decides what one channel is told; `render` writes it.
"""
