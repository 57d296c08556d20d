"""Labelled images to run networks on: folders by class, arrays, data sets of `datasets` and torchvision."""
