"""Faust apps. None is built yet: the join of outcomes and the drift watch come here."""
