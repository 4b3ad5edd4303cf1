"""The alerts' topic, its rules, and the ways out of it."""
