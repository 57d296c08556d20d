"""From fragments to a published data set: schema, shards, card, release, verify."""
