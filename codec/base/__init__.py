"""Shared by all packages: errors, the format's constants, progress reports, a disk cache, the version."""
