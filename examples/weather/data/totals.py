#!/usr/bin/env python3
"""Counts and sums of the vendored weather data, computed apart from the Rust program: the totals it is checked against.

Whole numbers only: hundredths are exact where floating point would not be. Prints totals.json.
"""
import csv
import gzip
import json
import pathlib
from decimal import Decimal

WIND_SPEED_MAX = Decimal(250)  # as settings.yaml has it
HERE = pathlib.Path(__file__).parent


def value(text):
    return None if text in ("", "NA") else Decimal(text)


def hundredths(number):
    scaled = number * 100
    assert scaled == scaled.to_integral_value(), number
    return int(scaled)


def main():
    with gzip.open(HERE / "weather.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    stations = {}
    for row in rows:
        total = stations.setdefault(
            row["origin"],
            {
                "rows": 0,
                "days": set(),
                "missing": dict.fromkeys(
                    ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"], 0
                ),
                "wind_speed_rejected": 0,
                "temp_count": 0,
                "temp_sum_hundredths": 0,
                "temp_min_hundredths": None,
                "temp_max_hundredths": None,
                "precip_sum_hundredths": 0,
            },
        )
        total["rows"] += 1
        total["days"].add((row["month"], row["day"]))
        for column in total["missing"]:
            total["missing"][column] += value(row[column]) is None
        wind = value(row["wind_speed"])
        total["wind_speed_rejected"] += wind is not None and wind > WIND_SPEED_MAX
        temp = value(row["temp"])
        if temp is not None:
            temp = hundredths(temp)
            total["temp_count"] += 1
            total["temp_sum_hundredths"] += temp
            low, high = total["temp_min_hundredths"], total["temp_max_hundredths"]
            total["temp_min_hundredths"] = temp if low is None else min(low, temp)
            total["temp_max_hundredths"] = temp if high is None else max(high, temp)
        precip = value(row["precip"])
        if precip is not None:
            total["precip_sum_hundredths"] += hundredths(precip)
    for total in stations.values():
        total["days"] = len(total["days"])
    print(json.dumps(dict(sorted(stations.items())), indent=2))


if __name__ == "__main__":
    main()
