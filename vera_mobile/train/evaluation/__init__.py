"""The parts of `vera bench quality`; vera_mobile.train.quality is their face."""
