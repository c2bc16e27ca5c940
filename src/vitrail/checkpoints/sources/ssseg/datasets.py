"""SSSegmentation's dataset types, by the label set that a model trained on them answers with."""

from __future__ import annotations

from collections.abc import Mapping

DATASETS: Mapping[str, str] = {
    "ADE20kDataset": "ade20k",
    "ATRDataset": "atr",
    "CIHPDataset": "cihp",
    "COCOStuff10kDataset": "coco_stuff_10k",
    "COCOStuffDataset": "coco_stuff_182",
    "COCOVOCSUBDataset": "voc",  # COCO's masks of the classes of VOC, in VOC's order
    "ChaseDB1Dataset": "chase_db1",
    "CityScapesDataset": "cityscapes",
    "DRIVEDataset": "drive",
    "DarkZurichDataset": "cityscapes",  # labelled with the classes of Cityscapes
    "HRFDataset": "hrf",
    "LIPDataset": "lip",
    "MHPv1Dataset": "mhp_v1",
    "MHPv2Dataset": "mhp_v2",
    "MultipleDataset": "voc",  # a mixture; the published ones are of VOC and COCO's masks of VOC's classes
    "NighttimeDrivingDataset": "cityscapes",  # labelled with the classes of Cityscapes
    "PascalContext59Dataset": "pascal_context_59",
    "PascalContextDataset": "pascal_context",
    "SBUShadowDataset": "sbu_shadow",
    "STAREDataset": "stare",
    "SuperviselyDataset": "supervisely_person",
    "VOCDataset": "voc",
    "VSPWDataset": "vspw",
}
