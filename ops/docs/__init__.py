"""The documentation site: `python -m ops.docs` builds it into .run/site, with mkdocs.

Pages by hand are docs/*.md and docs/site/*.md. Pages made of the code, at each build: one for each
command, each kind of error, each reason of a refusal, each alert, and the topics.
"""
