"""MMSegmentation's dataset classes, by the label set that a model trained on them answers with."""

from __future__ import annotations

from collections.abc import Mapping

# Left out: the classes that take their labels from elsewhere (DecathlonDataset, DSDLSegDataset), and NYUDataset, whose
# names are kinds of rooms and whose models estimate depth.
DATASETS: Mapping[str, str] = {
    "ADE20KDataset": "ade20k",
    "BDD100KDataset": "cityscapes",  # labelled with the classes of Cityscapes
    "COCOStuffDataset": "coco_stuff",
    "ChaseDB1Dataset": "chase_db1",
    "CityscapesDataset": "cityscapes",
    "DRIVEDataset": "drive",
    "DarkZurichDataset": "cityscapes",  # labelled with the classes of Cityscapes
    "HRFDataset": "hrf",
    "ISPRSDataset": "vaihingen",
    "LEVIRCDDataset": "levir_cd",
    "LIPDataset": "lip",
    "LoveDADataset": "loveda",
    "MapillaryDataset_v1": "mapillary_v1",  # the class names 66 labels, its models answer with the 65 before Unlabeled
    "MapillaryDataset_v2": "mapillary_v2",
    "NightDrivingDataset": "cityscapes",  # labelled with the classes of Cityscapes
    "PascalContextDataset": "pascal_context",
    "PascalContextDataset59": "pascal_context_59",
    "PascalVOCDataset": "voc",
    "PotsdamDataset": "potsdam",
    "REFUGEDataset": "refuge",
    "STAREDataset": "stare",
    "SynapseDataset": "synapse",
    "iSAIDDataset": "isaid",
}
