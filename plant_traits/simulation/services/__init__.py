"""Stand-ins on loopback for the services that data come from, for tests and demonstrations without a network."""

from plant_traits.simulation.services.stand_ins import StandIns, serve

__all__ = ["StandIns", "serve"]
