"""What `millstream sql` knows by itself: the cookbook, what can be completed. No sockets."""
