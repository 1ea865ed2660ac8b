"""Every land cell from its photos and its place together, with errors that plots vouch for."""
