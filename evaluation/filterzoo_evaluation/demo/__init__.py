"""`make confidence-demo`: pairs of normal and robust networks, trained and evaluated on images from wheels."""
