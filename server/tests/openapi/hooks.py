"""Leads most of schemathesis' requests to an index and pictures that are there, and copies to where they do no harm."""
import json
import os
import zlib

import schemathesis

PLACE = json.loads(os.environ["IMAGEFLEET_TEST_PLACE"])


def mostly(case):
    """Three times in four, the same for the same request."""
    return zlib.crc32(repr((case.path_parameters, case.query, case.body)).encode()) % 4 != 0


@schemathesis.hook
def before_call(context, case, kwargs):
    lead = mostly(case)
    if lead and "name" in (case.path_parameters or {}):
        case.path_parameters["name"] = PLACE["name"]
    if lead and isinstance((case.query or {}).get("path"), str):
        case.query["path"] = PLACE["picture"]
    if isinstance(case.body, dict):
        if isinstance(case.body.get("folder"), str):
            case.body["folder"] = PLACE["folder"]
        if lead and isinstance(case.body.get("index_prefix"), str):
            case.body["index_prefix"] = PLACE["prefix"]
