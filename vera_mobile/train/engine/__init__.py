"""The data engine: from good photos to shards of samples whose text is true."""
