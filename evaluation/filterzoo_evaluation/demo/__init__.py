"""`make confidence-demo`: trains pairs of normal and robust networks and evaluates them, on images from wheels."""
