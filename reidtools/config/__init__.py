"""Configs: files and ``KEY VALUE`` pairs in, one complete and frozen tree out."""
