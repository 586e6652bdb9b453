"""The topic that most tests are about: its contract, its tables and its suite."""

from dataclasses import replace

from include.jobs.ingest.contract import Contract
from include.jobs.ingest.expectations import Suite
from include.jobs.ingest.schemas import event_tables
from include.jobs.lake.tables import TRANSACTIONS

CONTRACT = Contract.load("transactions.v1")
SALES = event_tables(CONTRACT, TRANSACTIONS)
# Their products are made up, and not among those of the reference data.
SUITE = Suite.of(replace(CONTRACT, references=()))
EVENTS = SALES.events.identifier
QUARANTINED = SALES.quarantine.identifier
