"""Files: read with care, written whole, sealed, locked, and tied to what they were made from."""
