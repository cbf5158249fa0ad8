"""Small hyperspectral products in HDF5, written in code with the names that their providers give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import rasterio.crs

WGS84 = rasterio.crs.CRS.from_epsg(4326).to_wkt()


def emit(
    path: Path,
    swath: np.ndarray,
    table: np.ndarray,
    *,
    good: Sequence[int] | None = None,
    **more: Any,
) -> Path:
    """EMIT L2A: a swath (row, col, band) and its table (2, row, col) of column and row, counted from 1, 0 for none."""
    count = swath.shape[2]
    with h5py.File(path, "w") as file:
        file["reflectance"] = swath.astype("<f4")
        file["location/glt_x"], file["location/glt_y"] = table.astype("<i4")
        file["sensor_band_parameters/wavelengths"] = 381 + 7.4 * np.arange(count, dtype="<f4")
        file["sensor_band_parameters/fwhm"] = np.full(count, 8.5, "<f4")
        file["sensor_band_parameters/good_wavelengths"] = np.asarray(good or [1] * count, "u1")
        said = {
            "geotransform": [10.0, 0.0006, 0, 47.0, 0, -0.0006], "spatial_ref": WGS84, "product_version": "V001",
            "time_coverage_start": "2023-03-16T04:51:33+0000", **more,
        }  # fmt: skip
        file.attrs.update({name: value for name, value in said.items() if value is not None})
    return path


def prisma(
    path: Path,
    vnir: np.ndarray,
    swir: np.ndarray,
    *,
    centres: tuple[Sequence[float], Sequence[float]],
    flags: tuple[Sequence[int], Sequence[int]] | None = None,
    **more: Any,
) -> Path:
    """PRISMA L2D: both cubes (row, band, col) of 30 m with their wavelengths; flags are 1 for good bands."""
    fields = "HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields"
    rows, _, cols = vnir.shape
    with h5py.File(path, "w") as file:
        said: dict[str, Any] = {
            "Epsg_Code": np.int64(32632),
            "Product_ULcorner_easting": 600_015.0, "Product_ULcorner_northing": 5_199_985.0,
            "Product_LRcorner_easting": 600_015.0 + 30 * (cols - 1),
            "Product_LRcorner_northing": 5_199_985.0 - 30 * (rows - 1), "Product_StartTime": b"2023-04-07T10:07:29.123",
            "Processor_Version": b"02.05", "Processing_Level": b"2D",
        }  # fmt: skip
        for i, (detector, cube) in enumerate((("Vnir", vnir), ("Swir", swir))):
            file[f"{fields}/{detector.upper()}_Cube"] = cube.astype("<u2")
            said |= {
                f"List_Cw_{detector}": np.asarray(centres[i], "<f4"),
                f"List_Fwhm_{detector}": np.full(len(centres[i]), 10, "<f4"),
                f"List_Cw_{detector}_Flags": np.asarray((flags or [[1] * len(c) for c in centres])[i], "<i4"),
                f"L2Scale{detector}Min": np.float32(-0.1 * i),
                f"L2Scale{detector}Max": np.float32(1 + i),
            }
        file.attrs.update({k: v for k, v in {**said, **more}.items() if v is not None})
    return path


def netcdf(
    path: Path,
    times: Sequence[float],
    variables: Mapping[str, np.ndarray],
    *,
    units: str = "days since 2018-01-01",
    axes: tuple[str, str, str] = ("time", "y", "x"),
    corner: tuple[float, float] = (500_000.0, 5_200_000.0),
    pixel: tuple[float, float] = (10.0, -10.0),
    crs: str | None = "EPSG:32632",
    named: bool = False,
    **storage: Any,
) -> Path:
    """A netCDF 4 of variables (time, row, col) as libraries write it: axes are scales, the CRS a grid mapping.

    Where they are `named` coordinates say what they are, which CF asks for and some writers leave out.
    """
    height, width = next(iter(variables.values())).shape[1:]
    with h5py.File(path, "w") as file:
        centres = [
            (corner[1 - i] + pixel[1 - i] * (np.arange(n) + 0.5)) for i, n in enumerate((height, width))
        ]
        for name, values in zip(axes, (np.asarray(times, "<f8"), *centres), strict=True):
            file[name] = values
            file[name].make_scale(name)
            if named and name != axes[0]:
                file[name].attrs["standard_name"] = f"projection_{name}_coordinate"
        file[axes[0]].attrs["units"] = units
        if crs:
            file["spatial_ref"] = 0
            file["spatial_ref"].attrs["crs_wkt"] = rasterio.crs.CRS.from_string(crs).to_wkt()
        for name, cube in variables.items():
            made = file.create_dataset(name, data=cube, **storage)
            for i, axis in enumerate(axes):
                made.dims[i].attach_scale(file[axis])
            made.attrs["_FillValue"] = np.array([0], cube.dtype)
            if crs:
                made.attrs["grid_mapping"] = "spatial_ref"
    return path
