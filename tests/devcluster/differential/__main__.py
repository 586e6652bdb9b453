"""Records what a real cluster answers: `python -m tests.devcluster.differential --kubeconfig FILE [TOPIC ...]`."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.devcluster.differential import recorded
from tests.devcluster.differential.requests import TOPICS
from tests.devcluster.differential.session import Session


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True, help="of a real cluster")
    parser.add_argument("topics", nargs="*", default=list(TOPICS), help="all when none is named")
    options = parser.parse_args()
    for topic in options.topics:
        with Session(options.kubeconfig) as session:
            answers = {name: session.run(case) for name, case in TOPICS[topic].items()}
        recorded.write(topic, answers)
        print(f"{topic}: {sum(map(len, answers.values()))} answers")


if __name__ == "__main__":
    main()
