"""The closed vocabularies of columns and curated facts, each value with its published meaning."""

from __future__ import annotations

import difflib

from filterzoo.licensing.licences import LicenceClass
from filterzoo.word import Word


class NetworkTask(Word):
    """What a network was trained to do; the tasks of CNN Filter DB (arXiv:2203.15331) and those that came since."""

    CLASSIFICATION = "classification", "says which of given classes an image or volume shows"
    FEATURE_EXTRACTION = "feature-extraction", "gives features for other tasks; trained without or with other labels"
    IMAGE_TEXT = "image-text", "gives features that are compared with those of texts"
    SEGMENTATION = "segmentation", "says of each pixel or voxel what it belongs to"
    DETECTION = "object-detection", "finds objects and their places"
    FACE_DETECTION = "face-detection", "finds faces"
    FACE_RECOGNITION = "face-recognition", "says whose face it is"
    KEYPOINTS = "keypoint-detection", "finds given points, of a body or a face"
    DEPTH = "depth-estimation", "estimates how far each pixel is"
    GENERATOR = "gan-generator", "makes images"
    DISCRIMINATOR = "gan-discriminator", "distinguishes generated images from real ones"
    STYLE = "style-transfer", "paints an image in the manner of another"
    SUPER_RESOLUTION = "super-resolution", "makes an image larger and sharper"
    RESTORATION = "image-restoration", "removes noise, blur or other damage"
    AUTOENCODER = "auto-encoder", "gives its input back through a narrow place"
    TRANSLATION = "image-to-image", "turns an image into another, of other kinds than those above"
    TEXT_RECOGNITION = "text-recognition", "finds or reads text in images"
    VIDEO = "video-classification", "says what happens in a video"
    REGISTRATION = "registration", "finds what moves one image onto another"


class VisualCategory(Word):
    """What the images of the training data show; those of CNN Filter DB (arXiv:2203.15331) and newer ones."""

    NATURAL = "natural", "photographs of everyday things"
    HANDWRITING = "handwriting", "written characters"
    FACES = "faces", "photographs of faces"
    ART = "art", "paintings and drawings"
    TEXTURES = "textures", "surfaces"
    FRACTALS = "fractals", "computed fractals"
    PLANTS = "plants", "photographs of plants"
    CARS = "cars", "photographs of cars"
    MAP = "map", "maps"
    SATELLITE = "satellite", "the ground from above"
    ASTRONOMY = "astronomy", "the sky"
    SEISMIC = "seismic", "seismic sections"
    THERMAL = "thermal", "infrared images of warmth"
    DEPTH = "depth", "images of distances"
    DOCUMENTS = "documents", "scans and photographs of text"
    MEDICAL_XRAY = "medical-xray", "X-ray images of bodies"
    MEDICAL_CT = "medical-ct", "computed tomography"
    MEDICAL_MRI = "medical-mri", "magnetic resonance imaging"
    MEDICAL_ULTRASOUND = "medical-ultrasound", "ultrasound images"
    MEDICAL_MICROSCOPY = "medical-microscopy", "tissue and cells under a microscope"
    MEDICAL_ENDOSCOPY = "medical-endoscopy", "images from inside a body"
    MEDICAL_FUNDUS = "medical-fundus", "images of the back of an eye"
    MEDICAL_MIXED = "medical-mixed", "several kinds of medical images"


class Modality(Word):
    """What one input of a network is."""

    RGB = "rgb", "images with three colour channels"
    GREY = "grey", "images with one channel of light"
    XRAY = "x-ray", "radiographs"
    CT = "ct", "computed tomography"
    MR = "mr", "magnetic resonance imaging"
    CT_MR = "ct+mr", "computed tomography or magnetic resonance imaging"
    ULTRASOUND = "ultrasound", "ultrasound images"
    MAMMOGRAPHY = "mammography", "radiographs of the breast"
    MICROSCOPY = "microscopy", "images through a microscope"
    OCT = "oct", "optical coherence tomography"
    FUNDUS = "fundus", "colour images of the back of an eye"
    VIDEO = "video", "sequences of images"
    AUDIO = "audio", "sound, or images made of it"
    MIXED = "mixed", "several of these"


class ThreatModel(Word):
    """What a network was trained to withstand, as RobustBench (arXiv:2010.09670) names it."""

    LINF = "Linf", "changes of every number by at most eps"
    L2 = "L2", "changes of at most eps in Euclidean length"
    CORRUPTIONS = "corruptions", "noise, blur, weather and digital damage"


COLUMNS: dict[str, type[Word]] = {
    "task": NetworkTask,
    "visual_category": VisualCategory,
    "modality": Modality,
    "threat_model": ThreatModel,
}
"""Column of the data set and of the curated facts -> the words it may hold."""


def wrong_words(facts: object) -> list[str]:
    """`column: the value and what it may be` for each attribute of a record that is not in its column's vocabulary."""
    found = ((column, words, getattr(facts, column, None)) for column, words in COLUMNS.items())
    return [
        f"{column}: {value!a:.100} is none of its words{_suggestion(value, words)}; allowed: {', '.join(words)}"
        for column, words, value in found
        if value is not None and value not in set(words)
    ]


def _suggestion(value: object, words: type[Word]) -> str:
    near = difflib.get_close_matches(str(value)[:100], [str(word) for word in words], n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


PUBLISHED: dict[str, type[Word]] = {**COLUMNS, "licence_class": LicenceClass}
"""Column of the data set -> its vocabulary, including columns that the crawler fills."""
