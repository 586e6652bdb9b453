"""Events from Kafka to the lake, exactly by interval, and the judging of an interval as a whole.

`plan` decides offsets (pure), `topic` reads them, `check` holds records against their contract, `interval` stages them
in the lake, `validate` runs the expectations on what is staged, `publish` makes it visible, `reference` writes products
and households.
"""
