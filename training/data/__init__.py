"""Videos -> face tubes -> training packs."""
