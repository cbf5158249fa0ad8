"""Small products as providers deliver them, written in code: the files and metadata that satae reads of them."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")  # by their number
DRIVERS = {
    ".jp2": {"driver": "JP2OpenJPEG", "QUALITY": 100, "REVERSIBLE": "YES"},
    ".tif": {"driver": "GTiff"},
}


def raster(path: Path, image: np.ndarray, pixel: float, **more: object) -> Path:
    """An image (band, row, col) with pixels of so many metres, all with one upper left corner."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = image.shape
    where = {"crs": "EPSG:32632", "transform": Affine(pixel, 0, 600_000, 0, -pixel, 5_200_000)}
    how = {**DRIVERS[path.suffix.lower()], **where, **more}
    with rasterio.open(path, "w", count=count, height=height, width=width, dtype=image.dtype, **how) as out:
        out.write(image)
    return path


def sentinel2(
    folder: Path,
    images: Mapping[str, np.ndarray],
    *,
    level: str = "2A",
    baseline: str = "05.11",
    classes: np.ndarray | None = None,
    day: str = "20230101",
) -> Path:
    """A .SAFE folder: `images` by band and metres, such as B02_10; from baseline 04.00 on DN are 1000 larger.

    `classes` (row, col) of 20 m are the scene classification of Level-2A; (3, row, col) of 60 m the masks of Level-1C.
    """
    later = baseline >= "04.00"
    root = folder / f"S2A_MSIL{level}_{day}T101401_N{baseline.replace('.', '')}_R022_T32TQM_{day}T141500.SAFE"
    granule = f"GRANULE/L{level}_T32TQM_A039000_{day}T101401"
    listed = []
    for name, image in images.items():
        band, metres = name.split("_")
        where = f"R{metres}m/" if level == "2A" else ""
        end = f"_{metres}m" if level == "2A" else ""
        file = f"{granule}/IMG_DATA/{where}T32TQM_{day}T101401_{band}{end}"
        stored = np.where(image == 0, 0, image + 1000) if later else image
        raster(root / f"{file}.jp2", stored[None].astype(np.uint16), int(metres))
        listed.append(file)
    if classes is not None and level == "2A":
        file = f"{granule}/IMG_DATA/R20m/T32TQM_{day}T101401_SCL_20m"
        raster(root / f"{file}.jp2", classes[None].astype(np.uint8), 20)
        listed.append(file)
    elif classes is not None:
        raster(root / granule / "QI_DATA" / "MSK_CLASSI_B00.jp2", classes.astype(np.uint8), 60)
    quantum, offset = (
        ("BOA_QUANTIFICATION_VALUE", "BOA_ADD_OFFSET")
        if level == "2A"
        else ("QUANTIFICATION_VALUE", "RADIO_ADD_OFFSET")
    )
    offsets = "".join(f'<{offset} band_id="{i}">-1000</{offset}>' for i in range(13)) if later else ""
    special = "".join(
        f"<Special_Values><SPECIAL_VALUE_TEXT>{text}</SPECIAL_VALUE_TEXT>"
        f"<SPECIAL_VALUE_INDEX>{value}</SPECIAL_VALUE_INDEX></Special_Values>"
        for text, value in (("NODATA", 0), ("SATURATED", 65535))
    )
    files = "".join(f"<IMAGE_FILE>{file}</IMAGE_FILE>" for file in listed)
    (root / f"MTD_MSIL{level}.xml").write_text(
        f"""<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-{level}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-{level}.xsd">
<n1:General_Info><Product_Info><PRODUCT_START_TIME>{day[:4]}-{day[4:6]}-{day[6:]}T10:14:01.024Z</PRODUCT_START_TIME>
<PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE><Product_Organisation><Granule_List><Granule>{files}</Granule>
</Granule_List></Product_Organisation></Product_Info><Product_Image_Characteristics>{special}
<{quantum} unit="none">10000</{quantum}>{offsets}</Product_Image_Characteristics></n1:General_Info>
</n1:Level-{level}_User_Product>
"""
    )
    return root


def outlines(
    root: Path, polygons: Sequence[Sequence[Sequence[tuple[float, float]]]], crs: int = 32632
) -> Path:
    """The cloud mask of a .SAFE folder before baseline 04.00: polygons, each its outer ring and then its holes."""

    def side(kind: str, ring: Sequence[tuple[float, float]]) -> str:
        places = " ".join(f"{x:g} {y:g}" for x, y in ring)
        where = f'<gml:posList srsDimension="2">{places}</gml:posList>'
        return f"<gml:{kind}><gml:LinearRing>{where}</gml:LinearRing></gml:{kind}>"

    features = "".join(
        '<eop:MaskFeature><eop:maskType codeSpace="urn:gs2:S2PDGS:maskType">OPAQUE</eop:maskType><eop:extentOf>'
        f"<gml:Polygon>{''.join(side('interior' if i else 'exterior', ring) for i, ring in enumerate(rings))}"
        "</gml:Polygon></eop:extentOf></eop:MaskFeature>"
        for rings in polygons
    )
    folder = next(root.glob("GRANULE/*")) / "QI_DATA"
    folder.mkdir(exist_ok=True)
    path = folder / "MSK_CLOUDS_B00.gml"
    members = f"<eop:maskMembers>{features}</eop:maskMembers>" if polygons else "<eop:maskMembers/>"
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<eop:Mask xmlns:eop="http://www.opengis.net/eop/2.0" '
        'xmlns:gml="http://www.opengis.net/gml/3.2"><gml:boundedBy><gml:Envelope '
        f'srsName="urn:ogc:def:crs:EPSG:8.8.1:{crs}"/></gml:boundedBy>{members}</eop:Mask>'
    )
    return path


def sentinel1(folder: Path, images: Mapping[str, np.ndarray], **where: object) -> Path:
    """A .SAFE folder of Sentinel-1 GRD: `images` by polarisation, placed by `where` as rasterio has it."""
    root = folder / "S1A_IW_GRDH_1SDV_20230615T054201_20230615T054226_048990_05E43F_ABCD.SAFE"
    (root / "measurement").mkdir(parents=True)
    for number, (name, image) in enumerate(images.items(), 1):
        height, width = image.shape
        file = f"s1a-iw-grd-{name}-20230615t054201-20230615t054226-048990-05e43f-00{number}.tiff"
        shape = {"driver": "GTiff", "count": 1, "height": height, "width": width, "dtype": "uint16"}
        with rasterio.open(root / "measurement" / file, "w", **shape, **where) as out:
            out.write(image.astype(np.uint16), 1)
            out.update_tags(TIFFTAG_IMAGEDESCRIPTION="Sentinel-1A IW GRD HR L1")
    (root / "manifest.safe").write_text(
        '<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1" xmlns:safe="http://www.esa.int/safe/sentinel-1.0">'
        '<safe:software name="Sentinel-1 IPF" version="003.61"/>'
        "<safe:startTime>2023-06-15T05:42:01.123</safe:startTime></xfdu:XFDU>"
    )
    return root


def zipped(folder: Path) -> Path:
    """The folder as it is downloaded, beside it."""
    return Path(shutil.make_archive(str(folder.with_suffix("")), "zip", folder.parent, folder.name))


def tarred(folder: Path) -> Path:
    """The files of a folder in a .tar as they are downloaded, beside it."""
    with tarfile.open(folder.with_name(f"{folder.name}.tar"), "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, file.name)
    return Path(archive.name)  # type: ignore[arg-type]


def landsat(folder: Path, images: Mapping[int, np.ndarray], quality: np.ndarray, *, level: int = 2) -> Path:
    """A folder of Landsat 8 Collection 2: `images` by number of the band, and QA_PIXEL, all (row, col) of 30 m."""
    name = f"LC08_L{level}{'SP' if level == 2 else 'TP'}_192027_20230615_20230622_02_T1"
    root, infix = folder / name, "SR_" if level == 2 else ""
    contents, scales = [], []
    for number, image in images.items():
        file = f"{name}_{infix}B{number}.TIF"
        raster(root / file, image[None].astype(np.uint16), 30)
        contents.append(f'    FILE_NAME_BAND_{number} = "{file}"')
        scales += [
            f"    REFLECTANCE_MULT_BAND_{number} = {{mult}}",
            f"    REFLECTANCE_ADD_BAND_{number} = {{add}}",
        ]
    raster(root / f"{name}_QA_PIXEL.TIF", quality[None].astype(np.uint16), 30)
    contents.append(f'    FILE_NAME_QUALITY_L1_PIXEL = "{name}_QA_PIXEL.TIF"')
    level1 = "\n".join(scales).format(mult="2.0000E-05", add="-0.100000")
    level2 = "\n".join(scales).format(mult="2.75e-05", add="-0.2")
    group = "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"
    surface = f"  GROUP = {group}\n{level2}\n  END_GROUP = {group}\n"
    (root / f"{name}_MTL.txt").write_text(
        "GROUP = LANDSAT_METADATA_FILE\n  GROUP = PRODUCT_CONTENTS\n"
        f'    PROCESSING_LEVEL = "L{level}{"SP" if level == 2 else "TP"}"\n    COLLECTION_NUMBER = 02\n'
        + "\n".join(contents)
        + '\n  END_GROUP = PRODUCT_CONTENTS\n  GROUP = IMAGE_ATTRIBUTES\n    SPACECRAFT_ID = "LANDSAT_8"\n'
        '    SENSOR_ID = "OLI_TIRS"\n    DATE_ACQUIRED = 2023-06-15\n  END_GROUP = IMAGE_ATTRIBUTES\n'
        + (surface if level == 2 else "")
        + f"  GROUP = LEVEL1_RADIOMETRIC_RESCALING\n{level1}\n  END_GROUP = LEVEL1_RADIOMETRIC_RESCALING\n"
        "END_GROUP = LANDSAT_METADATA_FILE\nEND\n"
    )
    return root


def planet(folder: Path, image: np.ndarray, mask: np.ndarray) -> Path:
    """A folder of a PlanetScope item: an image (band, row, col) and its udm2 (8, row, col), of 3 m."""
    root = folder / "20230615_101500_12_2459_udm"
    raster(root / "20230615_101500_12_2459_3B_AnalyticMS_SR.tif", image.astype(np.uint16), 3, nodata=0)
    raster(root / "20230615_101500_12_2459_3B_udm2.tif", mask.astype(np.uint8), 3)
    return root


def envi(
    path: Path, image: np.ndarray, interleave: str = "bsq", *, header: str = "", offset: int = 0
) -> Path:
    """Raw pixels of an image (band, row, col) with a header of NAME.hdr; `header` is added to it."""
    bands, rows, cols = image.shape
    axes = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}[interleave]
    path.write_bytes(bytes(offset) + image.transpose(axes).tobytes())
    kinds = {"u1": 1, "i2": 2, "i4": 3, "f4": 4, "f8": 5, "u2": 12}
    path.with_suffix(".hdr").write_text(
        f"ENVI\nsamples = {cols}\nlines = {rows}\nbands = {bands}\n"
        f"header offset = {offset}\nfile type = ENVI Standard\n"
        f"data type = {kinds[image.dtype.str[1:]]}\ninterleave = {interleave}\n"
        f"byte order = {int(image.dtype.str[0] == '>')}\n"
        f"map info = {{UTM, 1, 1, 600000, 5200000, 30, 30, 32, North, WGS-84}}\n{header}"
    )
    return path


def enmap(
    folder: Path, image: np.ndarray, centres: Sequence[float], clouds: np.ndarray | None = None
) -> Path:
    """A folder of EnMAP Level 2A: an image (band, row, col) of 30 m, its wavelengths, and where there are clouds."""
    name = "ENMAP01-____L2A-DT0000001867_20220724T104526Z_008_V010302_20230628T165614Z"
    raster(folder / name / f"{name}-SPECTRAL_IMAGE.TIF", image.astype(np.int16), 30)
    if clouds is not None:
        raster(folder / name / f"{name}-QL_QUALITY_CLOUD.TIF", clouds[None].astype(np.uint8), 30)
    bands = "".join(
        f'<bandID number="{i}"><wavelengthCenterOfBand>{nm}</wavelengthCenterOfBand><FWHMOfBand>7.5</FWHMOfBand>'
        "<GainOfBand>0.0001</GainOfBand><OffsetOfBand>0</OffsetOfBand></bandID>"
        for i, nm in enumerate(centres, 1)
    )
    (folder / name / f"{name}-METADATA.XML").write_text(
        "<level_X><base><temporalCoverage><startTime>2022-07-24T10:45:26.123Z</startTime></temporalCoverage></base>"
        f"<specific><bandCharacterisation>{bands}</bandCharacterisation></specific></level_X>"
    )
    return folder / name


def maxar(folder: Path, image: np.ndarray, side: int = 32) -> Path:
    """An image (band, row, col) of 2 m as Maxar delivers it: tiles, the .TIL that places them, and the .IMD."""
    _, height, width = image.shape
    groups = []
    for row in range(0, height, side):
        for col in range(0, width, side):
            part = image[:, row : row + side, col : col + side]
            file = f"10OCT01_R{row // side + 1}C{col // side + 1}.TIF"
            where = Affine(2, 0, 600_000 + 2 * col, 0, -2, 5_200_000 - 2 * row)
            raster(folder / file, part.astype(np.uint16), 2, transform=where)
            bottom, right = row + part.shape[1] - 1, col + part.shape[2] - 1
            groups.append(
                f'BEGIN_GROUP = TILE_{len(groups) + 1}\n\tfilename = "{file}";\n\tULColOffset = {col};\n'
                f"\tULRowOffset = {row};\n\tURColOffset = {right};\n\tURRowOffset = {row};\n"
                f"\tLRColOffset = {right};\n\tLRRowOffset = {bottom};\n\tLLColOffset = {col};\n"
                f"\tLLRowOffset = {bottom};\nEND_GROUP = TILE_{len(groups) + 1}\n"
            )
    path = folder / "10OCT01.TIL"
    path.write_text(f'bandId = "Multi";\nnumTiles = {len(groups)};\n{"".join(groups)}END;\n')
    bands = "".join(f"BEGIN_GROUP = BAND_{b}\n\tTDILevel = 1;\nEND_GROUP = BAND_{b}\n" for b in "BGRN")
    text = f'bandId = "Multi";\nnumRows = {height};\nnumColumns = {width};\nbitsPerPixel = 16;\n{bands}END;\n'
    path.with_suffix(".IMD").write_text(text)
    return path
