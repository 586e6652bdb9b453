"""The topic that most tests are about: its contract, its tables and its suite."""

from include.jobs.ingest.contract import Contract
from include.jobs.ingest.expectations import Suite
from include.jobs.ingest.schemas import event_tables
from include.jobs.lake.tables import TRANSACTIONS

CONTRACT = Contract.load("transactions.v1")
SALES = event_tables(CONTRACT, TRANSACTIONS)
SUITE = Suite.of(CONTRACT)
EVENTS = SALES.events.identifier
QUARANTINED = SALES.quarantine.identifier
