"""From a photo and a place to trait values with their uncertainty: encoders, network, training and prediction."""
