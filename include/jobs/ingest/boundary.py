"""Where a moment lies in a partition: the offset that parts earlier records from later ones with the fewest misplaced.

Kafka's `offsets_for_times` names the first offset with a message time at or past a moment. One control record, whose
time is the broker's clock, or one producer whose clock runs ahead moves that by any distance. So it is only where the
search begins: nothing before it is as late as the moment. From there on every record that is delivered votes by its
own message time, and the boundary lies where the fewest records are on the wrong side:

    b(T) = argmin over b of  |{i < b: time_i >= T}| + |{i >= b: time_i < T}|,  the smallest such b

That sum is submodular in b and T, so b(T) never falls as T rises: ranges of offsets keep the order of their intervals.
The search ends where later records outweigh earlier ones by `confirm` votes, or at the end of what is stable.
"""

import datetime as dt
from dataclasses import dataclass

import numpy as np

#: Votes of later records that end a search, for one partition and for all of a topic together.
_MOST_VOTES, _LEAST_VOTES, _VOTES_OF_A_TOPIC = 2_000, 300, 100_000

#: Of int64.
Numbers = np.ndarray
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Boundary:
    """The first offset that belongs past a moment.

    `evidence` is by how many records that are not ahead of the clock the later ones outweigh the earlier ones from
    there on. `held` says that the end of what is stable comes first: transactions are open behind which records may
    lie that move the boundary.
    """

    offset: int
    evidence: int
    held: bool = False


def votes_to_confirm(partitions: int) -> int:
    """After how many votes a search ends: the more partitions, the fewer, so that a look at all of them stays short."""
    return max(_LEAST_VOTES, min(_MOST_VOTES, _VOTES_OF_A_TOPIC // max(partitions, 1)))


class Search:
    """The search of one moment in one partition, fed with its records in order, in batches of any size.

    Args:
        moment: milliseconds since 1970, as `now` and `latest` are.
        start: no boundary lies before this offset.
        now: a record that is stamped later votes, but is no evidence that the moment has come.
        latest: one that is stamped later still has no vote, nor has one from before 1970: that is no time.
        confirm: the votes by which later records must outweigh earlier ones to end the search.
    """

    def __init__(self, moment: int, start: int, *, now: int, latest: int, confirm: int) -> None:
        self._moment, self._now, self._latest, self._confirm = moment, now, latest, confirm
        self._best = start
        self._score = self._lowest = self._ahead = 0
        self._voted_since = False
        self._unstable_score = self._unstable_earlier = 0

    def feed(self, offsets: Numbers, times: Numbers) -> bool:
        """Take the votes of records; whether the search has ended, so that no more are wanted."""
        votes, ahead = self._votes(times)
        scores = self._score + np.cumsum(votes)
        lowest = np.minimum(np.minimum.accumulate(scores), self._lowest)
        ended = np.flatnonzero(scores - lowest >= self._confirm)
        if len(ended):
            # What comes after the end of the search counts no more, however the records were batched.
            last = int(ended[0]) + 1
            votes, ahead, scores, lowest = votes[:last], ahead[:last], scores[:last], lowest[:last]
        since = 0
        if lowest[-1] < self._lowest:
            place = int(np.flatnonzero(scores == lowest[-1])[0])
            self._best, self._lowest, since = int(offsets[place]) + 1, int(lowest[-1]), place + 1
            self._ahead, self._voted_since = 0, False
        self._score = int(scores[-1])
        self._ahead += int(np.count_nonzero(ahead[since:]))
        self._voted_since = self._voted_since or bool(np.any(votes[since:]))
        return len(ended) > 0

    def feed_unstable(self, times: Numbers) -> bool:
        """Take records behind an open transaction; whether no more are wanted.

        At worst those of them that are earlier than the moment come to count, and all others are aborted.
        """
        votes, _ = self._votes(times)
        self._unstable_earlier += int(np.count_nonzero(votes < 0))
        self._unstable_score += int(votes.sum())
        return self._held or self._rise + self._unstable_score >= self._confirm

    def result(self, end: int) -> Boundary:
        """The boundary, once all up to `end`, where what is stable ends, was fed, or the search has ended.

        Where no vote follows, all there is came before: what has no vote goes with the records that it came with.
        """
        offset = self._best if self._voted_since else max(end, self._best)
        return Boundary(offset, self._rise - self._ahead, self._held)

    @property
    def _rise(self) -> int:
        return self._score - self._lowest

    @property
    def _held(self) -> bool:
        return self._unstable_earlier > self._rise

    def _votes(self, times: Numbers) -> tuple[Numbers, Numbers]:
        votes = np.where(times >= self._moment, 1, -1) * are_times(times, self._latest)
        return votes, (votes > 0) & (times > self._now)


def are_times(times: Numbers, latest: int) -> Numbers:
    """Which of them have a vote: from 1970 on, and no later than `latest`, milliseconds as they are."""
    return (times >= 0) & (times <= latest)


def milliseconds(moment: dt.datetime) -> int:
    """Since 1970, rounded up: an offset for a time is the first record at or past it, and Kafka counts whole ones."""
    return -((_EPOCH - moment) // dt.timedelta(milliseconds=1))
