"""Cedar (https://www.cedarpolicy.com) as an independent word on who may read what; run by the check environment.

Reads one world as JSON on standard input: `people` (a list of group lists), `items` (a list of lists of any-of sets).
Prints `{"allowed": [[bool per person] per item], "seconds": …}`. Needs `cedarpy`, and nothing of ours.
"""

import json
import sys
from time import perf_counter

POLICY = """
permit(principal, action == Action::"read", resource) when {
  principal in resource.any0 &&
  (!(resource has any1) || principal in resource.any1) &&
  (!(resource has any2) || principal in resource.any2)
};
"""
"""`principal in [a, b]` is true if the principal is in at least one of them; an item has one to three such sets."""


def group(name):
    return {"__entity": {"type": "Group", "id": name}}


def main():
    import cedarpy

    world = json.load(sys.stdin)
    names = {name for one in world["people"] for name in one} | {n for i in world["items"] for s in i for n in s}
    entities = [{"uid": {"type": "Group", "id": name}, "attrs": {}, "parents": []} for name in sorted(names)]
    for number, groups in enumerate(world["people"]):
        parents = [{"type": "Group", "id": name} for name in groups]
        entities.append({"uid": {"type": "User", "id": str(number)}, "attrs": {}, "parents": parents})
    for number, sets in enumerate(world["items"]):
        attributes = {f"any{place}": [group(name) for name in any_of] for place, any_of in enumerate(sets)}
        entities.append({"uid": {"type": "Item", "id": str(number)}, "attrs": attributes, "parents": []})
    allowed, seconds = [], 0.0
    for item in range(len(world["items"])):
        requests = [
            {"principal": f'User::"{person}"', "action": 'Action::"read"', "resource": f'Item::"{item}"', "context": {}}
            for person in range(len(world["people"]))
        ]
        began = perf_counter()
        answers = cedarpy.is_authorized_batch(requests, POLICY, entities)
        seconds += perf_counter() - began
        for answer in answers:
            if answer.diagnostics.errors:
                sys.exit(f"cedar: {answer.diagnostics.errors}")
        allowed.append([answer.allowed for answer in answers])
    print(json.dumps({"allowed": allowed, "seconds": seconds}))


if __name__ == "__main__":
    main()
