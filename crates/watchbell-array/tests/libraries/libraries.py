"""What the tests let Zarr's libraries do: `libraries.py FUNCTION DIRECTORY ARGUMENTS...`"""

import os
import signal
import sys

import numpy as np
import tensorstore
import xarray
import zarr

LENGTH, CHUNK = 100, 24


def make(directory, **how):
    root = zarr.create_group(directory, zarr_format=how.pop("zarr_format", 3))
    array = root.create_array(
        "temperature", shape=(LENGTH, 10), dtype="float32", fill_value=0,
        chunks=how.pop("chunks", (CHUNK, 5)), **how,
    )
    if array.metadata.zarr_format == 2:
        array.attrs["_ARRAY_DIMENSIONS"] = ["time", "lat"]
    array[:] = -1


def make_v3(directory):
    make(directory, dimension_names=("time", "lat"))


def make_sharded(directory):
    make(directory, dimension_names=("time", "lat"), chunks=(6, 5), shards=(CHUNK, 10))


def make_v2(directory):
    make(directory, zarr_format=2)


def dataset(start, stop, value, coordinates=True):
    data = np.full((stop - start, 10), value, "float32")
    places = {"time": np.arange(start, stop), "lat": np.arange(10)} if coordinates else {}
    return xarray.Dataset({"temperature": (("time", "lat"), data)}, places)


def make_xarray(directory, zarr_format=3):
    encoding = {"temperature": {"chunks": (CHUNK, 5)}, "time": {"chunks": (CHUNK,)}}
    dataset(0, LENGTH, -1).to_zarr(directory, encoding=encoding, zarr_format=zarr_format)


def make_xarray_v2(directory):
    make_xarray(directory, 2)


# What netCDF fills with, and what packs a temperature into 16 bits.
FILL, SCALE = 9.969209968386869e36, 0.0018311105685897415


def missing():
    data = np.arange(LENGTH * 10, dtype="float64").reshape(LENGTH, 10)
    data[3:7, 2] = np.nan
    return data


def make_missing(directory, zarr_format):
    names = ("time", "lat")
    places = {"time": np.arange(LENGTH, dtype="float64"), "lat": np.arange(10)}
    encoding = {
        "temperature": {"chunks": (CHUNK, 5), "_FillValue": FILL},
        "packed": {"chunks": (CHUNK, 5), "dtype": "int16", "_FillValue": -32767, "scale_factor": SCALE},
        "time": {"chunks": (CHUNK,)},
    }
    data = {"temperature": (names, missing(), {"big": 2**64, "valid_min": -3.4028234663852886e38}),
            "packed": (names, missing() * SCALE)}
    xarray.Dataset(data, places, {"nothing": float("nan")}).to_zarr(
        directory, encoding=encoding, zarr_format=zarr_format, consolidated=True
    )
    # As zarr itself fills: half of it was never written.
    root = zarr.open_group(directory, mode="r+", use_consolidated=False)
    how = {"dimension_names": names} if zarr_format == 3 else {}
    plain = root.create_array(
        "plain", shape=(LENGTH, 10), dtype="float64", fill_value=FILL, chunks=(CHUNK, 5), **how
    )
    if zarr_format == 2:
        plain.attrs["_ARRAY_DIMENSIONS"] = list(names)
    plain[:CHUNK] = 1
    zarr.consolidate_metadata(directory)


def make_missing_2(directory):
    make_missing(directory, 2)


def make_missing_3(directory):
    make_missing(directory, 3)


def check_missing(directory, zarr_format):
    """After a growth to which nobody has written."""
    root = zarr.open_group(directory, mode="r", zarr_format=int(zarr_format))
    temperature = root["temperature"]
    assert temperature.shape == (LENGTH + 24, 10), temperature.shape
    attributes = dict(temperature.attrs)
    assert attributes["big"] == 2**64 and attributes["valid_min"] == -3.4028234663852886e38, attributes
    assert root["packed"].attrs["scale_factor"] == SCALE, root["packed"].attrs["scale_factor"]
    found = xarray.open_zarr(directory, decode_times=False)
    assert np.isnan(found.attrs["nothing"]), found.attrs
    assert found.temperature.encoding["_FillValue"] == FILL, found.temperature.encoding
    for values, expected in [
        (found.temperature.values, missing()),
        (found.packed.values, np.rint(missing()).astype("float64") * SCALE),
    ]:
        # Both what was missing, and what nobody has written yet.
        assert (np.isnan(values[:LENGTH]) == np.isnan(missing())).all()
        np.testing.assert_allclose(values[:LENGTH], expected, rtol=1e-12)
    plain = root["plain"]
    assert plain.fill_value == FILL and (plain[:CHUNK] == 1).all() and (plain[CHUNK:] == FILL).all(), plain


def write_zarr(directory, start, stop, value):
    array = zarr.open_array(directory, path="temperature", mode="r+")
    array[int(start):int(stop)] = array.fill_value if value == "fill" else float(value)


class InPlace(zarr.storage.LocalStore):
    """Writes as zarr-python 3.0 does: into the file that is there."""

    async def set(self, key, value):
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(value.to_bytes())


def write_in_place(directory, start, stop, value):
    array = zarr.open_array(InPlace(os.path.join(directory, "temperature")), mode="r+")
    array[int(start):int(stop)] = float(value)


def write_xarray(directory, start, stop, value):
    start, stop = int(start), int(stop)
    region = dataset(start, stop, float(value)).drop_vars("lat")
    region.to_zarr(directory, region={"time": slice(start, stop)}, mode="r+")


def write_new(directory, start, stop, value):
    """In a region xarray leaves the coordinate of its dimension as it is: what is new of that is written by zarr."""
    write_xarray(directory, start, stop, value)
    start, stop = int(start), int(stop)
    zarr.open_group(directory, mode="r+")["time"][start:stop] = np.arange(start, stop)


def write_tensorstore(directory, start, stop, value):
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": os.path.join(directory, "temperature")}}
    array = tensorstore.open(spec).result()
    array[int(start):int(stop)].write(np.float32(value)).result()


def rewrite(directory):
    zarr.create_array(os.path.join(directory, "temperature"), shape=(4,), dtype="i4", overwrite=True)


def attributes(directory):
    zarr.open_group(directory, mode="r+").attrs["touched"] = True


def append(directory):
    dataset(LENGTH, LENGTH + CHUNK, 7).to_zarr(directory, append_dim="time")


def write_coordinate(directory):
    zarr.open_array(directory, path="lat", mode="r+")[:] = 7


def killed(directory, start, stop):
    """Dies between the last byte of a chunk and its name."""
    rename = os.replace

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        os.replace = os.rename = die
        import pathlib
        pathlib.Path.replace = pathlib.Path.rename = die
        write_zarr(directory, start, stop, 1)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.replace is rename, status


def make_small(directory, zarr_format):
    """With what has no dimension, and with dimensions that have no element yet."""
    zarr_format = int(zarr_format)
    names = ("time", "lat")
    data = {
        "temperature": (names, np.full((LENGTH, 10), -1, "float32")),
        "crs": ((), np.int32(4326)),
        "reports": (("station", "lat"), np.zeros((0, 10), "float32")),
        "nothing": (("time", "none"), np.zeros((LENGTH, 0), "float32")),
    }
    places = {
        "time": np.arange(LENGTH), "lat": np.arange(10), "height": ((), 2.0), "station": np.zeros(0, "int64"),
    }
    encoding = {
        "temperature": {"chunks": (CHUNK, 5)}, "time": {"chunks": (CHUNK,)},
        "reports": {"chunks": (8, 10), "_FillValue": None}, "station": {"chunks": (8,)},
        "nothing": {"chunks": (CHUNK, 5)},
    }
    xarray.Dataset(data, places).to_zarr(directory, encoding=encoding, zarr_format=zarr_format)


def make_small_2(directory):
    make_small(directory, 2)


def make_small_3(directory):
    make_small(directory, 3)


def write_scalar(directory, name, value):
    zarr.open_array(directory, path=name, mode="r+")[...] = float(value)


def write_reports(directory, start, stop, value):
    """The first elements of a dimension that had none."""
    start, stop = int(start), int(stop)
    data = np.full((stop - start, 10), float(value), "float32")
    region = xarray.Dataset({"reports": (("station", "lat"), data)})
    region.to_zarr(directory, region={"station": slice(start, stop)}, mode="r+")
    zarr.open_group(directory, mode="r+")["station"][start:stop] = np.arange(start, stop)


def check_small(directory, crs, height, *parts):
    """And START:STOP:VALUE of each index that has written reports."""
    root = zarr.open_group(directory, mode="r")
    found = xarray.open_zarr(directory, decode_times=False)
    assert root["crs"].shape == () and root["crs"][()] == int(crs) == found.crs.values, root["crs"][()]
    assert root["height"][()] == float(height) == found.height.values, root["height"][()]
    assert found.nothing.shape == (LENGTH, 0) and found.nothing.values.size == 0, found.nothing
    stations = int(parts[-1].split(":")[1]) if parts else 0
    assert found.reports.shape == root["reports"].shape == (stations, 10), found.reports.shape
    assert (found.station.values == np.arange(stations)).all(), found.station.values
    for part in parts:
        start, stop, value = (int(number) for number in part.split(":"))
        assert (found.reports.values[start:stop] == value).all(), part


def check(directory, *parts):
    """START:STOP:VALUE of each index, by two libraries."""
    check_to(directory, LENGTH, *parts)


def check_to(directory, length, *parts):
    """The same of an array that has grown."""
    check_values(directory, length, *parts)
    if "time" in zarr.open_group(directory, mode="r"):
        found = xarray.open_zarr(directory)
        assert found.temperature.shape == (int(length), 10), found
        assert (found.time.values == np.arange(int(length))).all()


def check_values(directory, length, *parts):
    """The same, whatever the coordinates say."""
    length = int(length)
    array = zarr.open_array(directory, path="temperature", mode="r")
    driver = "zarr3" if array.metadata.zarr_format == 3 else "zarr"
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": os.path.join(directory, "temperature")}}
    other = tensorstore.open(spec).result().read().result()
    end = 0
    for part in parts:
        start, stop, value = (int(number) for number in part.split(":"))
        assert start == end, parts
        end = stop
        assert (array[start:stop] == value).all(), part
        assert (other[start:stop] == value).all(), part
    assert end == length == array.shape[0] == other.shape[0], parts


globals()[sys.argv[1]](*sys.argv[2:])
