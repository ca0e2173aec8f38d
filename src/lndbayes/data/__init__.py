"""Reading and checking an evaluation directory; see `docs/data-contract.md`."""
