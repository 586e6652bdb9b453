"""An MPI launcher without MPI: starts one rank a host, all at once, by the remote shell, and fails if one fails."""

import os
import subprocess
import sys
import time

shell = os.environ["OMPI_MCA_plm_rsh_agent"]  # noqa: SIM112 - Open MPI writes it so
with open("/etc/mpi/hostfile") as file:
    hosts = [line.split()[0] for line in file]
ranks = [
    subprocess.Popen([shell, host, f"export RANK={rank}; " + " ".join(sys.argv[1:])]) for rank, host in enumerate(hosts)
]
while os.environ.get("STOP_AT_FIRST") and all(rank.poll() is None for rank in ranks):
    time.sleep(0.1)
if os.environ.get("STOP_AT_FIRST"):
    for rank in ranks:
        rank.terminate()
codes = [rank.wait() for rank in ranks]
sys.stdout.write(f"codes {codes}\n")
sys.exit(1 if any(codes) else 0)
