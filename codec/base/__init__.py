"""What every room stands on: errors, normative numbers, how work reports itself, kept results, the version."""
