"""The texts that the YAML and JSON benchmarks read: what these tools see every day, the same in every run.

A list of objects like those of Kubernetes, with nested maps and lists, numbers, booleans, nulls, quoted and plain
strings and characters outside ASCII; about 1.3 MiB as YAML.
"""
import json
import random

WORDS = "platform cluster network subnet bastion release parcel track notify région données état façade".split()


def objects(count, seed=1):
    pick = random.Random(seed)
    text = lambda n: " ".join(pick.choice(WORDS) for _ in range(n))
    for i in range(count):
        name = f"{pick.choice(WORDS)}-{i}"
        yield {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": name,
                "generation": i,
                "labels": {"app": name, "version": f"{i % 7}.{i % 11}.0", "tier": pick.choice(["web", "data"])},
                "annotations": {"description": text(12), "checksum": f"{pick.getrandbits(128):032x}"},
            },
            "spec": {
                "replicas": pick.randrange(1, 40),
                "paused": i % 3 == 0,
                "minReadySeconds": None if i % 5 else 10,
                "ratio": round(pick.random(), 6),
                "template": {
                    "containers": [
                        {
                            "name": f"c{j}",
                            "image": f"eu.gcr.io/project/{name}:{i}.{j}.{pick.randrange(100)}",
                            "args": ["--listen", f"0.0.0.0:{8000 + j}", "--note", 'say "hello", then: wait'],
                            "env": [{"name": f"KEY_{k}", "value": text(3)} for k in range(4)],
                            "limits": {"cpu": f"{100 * (j + 1)}m", "memory": 1048576 * (j + 1)},
                        }
                        for j in range(2)
                    ]
                },
            },
            "empty": {"list": [], "map": {}},
        }


def scalar(value):
    """A scalar as people write it: plain where YAML reads it back as the same string, else double-quoted."""
    if isinstance(value, str):
        plain = value[:1].isalpha() and value.isprintable() and not any(c in value for c in ':#"')
        return value if plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def block(value, indent):
    """Block style with two spaces; empty collections in flow style."""
    pad = " " * indent
    if isinstance(value, dict) and value:
        for key, item in value.items():
            if isinstance(item, (dict, list)) and item:
                yield f"{pad}{key}:"
                yield from block(item, indent + 2)
            else:
                yield f"{pad}{key}: {scalar(item) if not isinstance(item, (dict, list)) else json.dumps(item)}"
    elif isinstance(value, list) and value:
        for item in value:
            nested = isinstance(item, (dict, list))
            lines = list(block(item, indent + 2)) if nested else [" " * (indent + 2) + scalar(item)]
            yield f"{pad}- {lines[0][indent + 2:]}"
            yield from lines[1:]


def write(folder, count=750):
    """Writes workload.yaml and workload.json below folder; returns their paths."""
    value = {"description": "text\nof several lines", "items": list(objects(count))}
    yaml_path, json_path = folder / "workload.yaml", folder / "workload.json"
    yaml_path.write_text("# generated\n" + "\n".join(block(value, 0)) + "\n", encoding="utf-8")
    json_path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return yaml_path, json_path
