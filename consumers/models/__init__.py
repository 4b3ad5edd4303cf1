"""Registries of models: a folder, objects behind a URL, MLflow."""
