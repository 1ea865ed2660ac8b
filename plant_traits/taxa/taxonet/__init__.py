"""Names from photos where most species are rare: TaxoNet's loss and sampling, and what it is compared with."""
