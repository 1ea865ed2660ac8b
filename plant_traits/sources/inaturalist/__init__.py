"""iNaturalist: the monthly open-data tables, and the API for small regions and their identifications."""
