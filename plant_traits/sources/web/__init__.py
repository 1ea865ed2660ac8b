"""Requests to other people's servers: paced, bounded, retried with patience, and only where the catalogue allows."""
