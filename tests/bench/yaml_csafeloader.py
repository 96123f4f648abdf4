"""yaml_csafeloader.py FILE TIMES: the median time in seconds to load FILE with PyYAML's loader over libyaml."""
import statistics
import sys
import time

import yaml

with open(sys.argv[1], encoding="utf-8") as file:
    text = file.read()
times = []
for _ in range(int(sys.argv[2])):
    start = time.perf_counter()
    yaml.load(text, Loader=yaml.CSafeLoader)
    times.append(time.perf_counter() - start)
print(f"{statistics.median(times):.9f}")
