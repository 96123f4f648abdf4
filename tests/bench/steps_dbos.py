"""steps_dbos.py FOLDER TIMES: the median time in seconds of one durable step of DBOS on SQLite, one after the other."""
import os
import statistics
import sys
import time

folder, times = sys.argv[1], int(sys.argv[2])
os.environ["DBOS_LOG_LEVEL"] = "ERROR"

from dbos import DBOS, DBOSConfig  # noqa: E402  (it reads the environment)

DBOS(config=DBOSConfig(name="bench", system_database_url=f"sqlite:///{folder}/dbos.sqlite", log_level="ERROR",
                       run_admin_server=False))
measured = []


@DBOS.step()
def step(i):
    return {"i": i, "text": "what a step returns"}


@DBOS.workflow()
def workflow():
    for i in range(times):
        start = time.perf_counter()
        step(i)
        measured.append(time.perf_counter() - start)


DBOS.launch()
workflow()
DBOS.destroy()
print(f"{statistics.median(measured):.9f}")
