"""Everything that the tabs say beside the labels of parameters, in English. The catalogs of messages hold the other
languages.

``STATIC`` has the fixed words of the page. The page is built in English, and ``javascript/easyphoto.js`` exchanges
them. ``SAYINGS`` are sentences with numbers and names in them; the server makes them in the language of the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from easyphoto.catalog import Catalog
from easyphoto.config import PortraitConfig, TrainConfig, declared
from easyphoto.inference import poses
from easyphoto.messages import Message, translated
from easyphoto.service.setting_fields import FIELDS
from easyphoto.templates import fetched_gallery, scenes

STATIC: tuple[str, ...] = (
    "Train",
    "Inference",
    "Train Human Lora",
    "Train Scene Lora",
    "Training photos",
    "5 to 20 photos of one person: head and shoulders or half length, several angles and "
    "lights, most of them without glasses.",
    "Upload photos",
    "Clear photos",
    "User id",
    "The name of the person, in any script.",
    "e.g. Ada",
    "Advanced options",
    "Scene options",
    "Start training",
    "Resume",
    "Cancel",
    "Progress",
    "Validation pictures",
    "Upload photos to see here what each of them is worth for the training.",
    "Nothing is being trained.",
    "No portraits yet.",
    "People",
    "Number of faces",
    "One user id for each face of the template, from left to right.",
    "none leaves a face as it is.",
    "Refresh",
    "Preset templates",
    "Upload a template",
    "Many templates",
    "Text to portrait",
    "Click a template to choose it.",
    "Presets",
    "Scenes",
    "A click writes the scene into the prompt.",
    "Inner poses",
    "Without Control",
    "Control with inner template",
    "Control with uploaded template",
    "Chosen presets",
    "Gallery",
    "All",
    "Yours",
    "Faces in the picture",
    "any",
    "4 and more",
    "Search",
    "woman, studio, hat ...",
    "Get the gallery",
    "Galleries of your own",
    "Upload a folder of pictures, and it becomes a gallery. To use a folder on the server where it lies, run there:",
    "Name of the gallery",
    "e.g. Holidays",
    "Remove the gallery that is open",
    "Add your own",
    "Delete chosen of your own",
    "Template",
    "Upload pictures",
    "Upload a folder",
    "Templates",
    "Clear templates",
    "Picture with the pose",
    "Generate",
    "Portraits",
    "Options",
    "Strength of the person",
    "Diffusion",
    "Face",
    "Background and finish",
    "Parameters of the selected portrait",
    "Select a portrait to see how it was made.",
    "none",
    "Weights",
    "Feature",
    "EasyPhoto works without any of these; each makes it better at something.",
    "Download",
    "Look again",
    "Nothing is being downloaded.",
    "Delete a person",
    "Person or scene",
    "Their portraits too",
    "Every portrait that shows them, alone or with others",
    "Delete",
    "Yes, delete",
    "Batch from a table",
    "A CSV, JSON Lines or YAML file, one row a portrait: user, template, output and any parameter by its name. "
    "Upload its templates with it, or name presets.",
    "Table and its templates",
    "Check the table",
    "Make all rows",
    "Settings",
    "Options of",
    "and environment variables go before what is chosen here.",
    "Save the settings",
    "that of the browser",
    "Queue",
    "Job",
    "Make it the next",
    "Retry",
    "Pause the queue",
    "Resume the queue",
    "Clear what has ended",
    *(f"User id, face {i}" for i in range(1, 11)),
)


SAYINGS: Mapping[str, str] = MappingProxyType(
    {
        "queued": "Waiting: {n} before this one.",
        "running": "Running",
        "train": "Training {subject}",
        "generate": "Portraits of {subject}",
        "batch": "Batch {subject}",
        "video": "Clip of {subject}",
        "filmed": "{frames} frames, {repainted} of them repainted, seed {seed}: {video}",
        "batched": "{made} made now, {there} there before, {failed} failed. The report is {report}.",
        "row_failed": "Line {n}: {message}",
        "stage batch": "Portraits of the table",
        "choose a job": "Choose a job first.",
        "nobody works": "Nobody works on the queue.",
        "queue paused": "The queue is paused: what runs goes on, nothing new begins.",
        "queue empty": "Nothing is in the queue.",
        "queue next": "The next",
        "queue running": "Running",
        "queue finished": "Finished",
        "queue failed": "Failed",
        "queue cancelled": "Cancelled",
        "cut off": "(begun again: {n})",
        "cancelling": "Stopping ...",
        "cancelled": "Cancelled.",
        "failed": "This did not work: {message}",
        "trained": "{subject} is trained.",
        "trained_likeness": "{subject} is trained. Likeness {likeness}.",
        "untrained": (
            "The training of {subject} ended, but the likeness did not rise: look at the photos, and train again."
        ),
        "generated": "Portraits made: {n}. Seed {seed}.",
        "some_failed": "Templates that could not be done: {n}.",
        "others": "Others asked for this meanwhile: {jobs}",
        "other running": "{subject} (running)",
        "other queued": "{subject} (waiting)",
        "stopped half-way": "{name} (stopped half-way)",
        "likeness did not rise": "{name} (the likeness did not rise)",
        "damaged": "{name} (damaged)",
        "delete nobody": "Choose whom to delete.",
        "delete sure": (
            "Delete {name}? Photos, LoRA, uploads and everything of their trainings go, and nothing brings them back."
        ),
        "delete portraits": "The portraits that show them go too: {n}.",
        "keep portraits": "The portraits that show them stay unless you tick the box: {n}.",
        "person deleted": "{name} was deleted: {n} files, {size}.",
        "portraits left": "Portraits that show them and were kept: {n}.",
        "can go on": "{name} can go on where the training stopped, with its options: press Resume.",
        "nobody": "Nobody is trained yet. Portraits need a person: train one first.",
        "to training": "Go to Train",
        "nothing": "No portrait was made.",
        "template_failed": "Template {n}: {message}",
        "step": "{stage}: {step} of {total}",
        "left_s": "{n} s left",
        "left_min": "about {n} min left",
        "likeness": "Likeness",
        "loss": "Loss",
        "steps": "Step",
        "validated": "Step {step}: likeness {likeness}",
        "fused": "Fused from the checkpoints of steps {steps}.",
        "photos": "{taken} of {n} photos will be taken.",
        "photos_uploaded": "{n} photos. They are being looked at ...",
        "photos_unchecked": "The photos could not be checked: {message}",
        "likeness_of": "likeness {likeness}",
        "added": "{name} was added.",
        "deleted": "{n} of your templates were deleted.",
        "more templates": "{n} more pictures under free licences, with one, two and three people: {size}.",
        "more faces": "A chosen picture shows {n} faces: raise the number of faces to put somebody onto each.",
        "no template found": "No template is like that.",
        "first templates": "The first {n} of {all}: search to see others.",
        "uncounted templates": "The faces of {n} are not counted yet: choose the number again to go on.",
        "gallery added": "{name} is a gallery of {n} pictures.",
        "gallery forgotten": "The gallery {name} is forgotten; its pictures stay where they are.",
        "gallery deleted": "The gallery {name} is deleted.",
        "no gallery open": "Open one of your own galleries first.",
        "demo model": "{name}: the small demo model",
        "as trained": "as trained",
        "as trained on": "as trained ({name})",
        "demo only": "The small demo model (256 pixels) is there to try things. For portraits to keep, get a full one.",
        "to weights": "Go to Weights",
        "settings saved": "The settings are saved.",
        "settings later": "From the next start on: {names}.",
        "own_only": "Only templates that you added can be deleted; choose one of them.",
        "unavailable": "EasyPhoto can't work yet: {message}",
        "broken_models": "These base models can't be used:",
        "unexpected": "An unexpected error stopped this: {message}",
        "models": "Downloading: {subject}",
        "fetched": "{n} files came, {size}.",
        "fetched_none": "Everything was there already.",
        "complete": "Everything is there: {n} files.",
        "to_fetch": "{n} files to download, {size}; {there} are there.",
        "to_fetch_all": "{n} files to download, {size}.",
        "about": "about ",
        "offline": "The network is switched off (EASYPHOTO_OFFLINE or HF_HUB_OFFLINE): put the files there yourself.",
        "non_commercial": "Some of these may not be used commercially.",
        "some_left_out": (
            "What may not be used commercially is left out; where there is one, another file takes its place."
        ),
        "found_as": "found as {file}",
        "optional": "works without it",
        "column file": "File",
        "column size": "Size",
        "column licence": "Licence",
        "state there": "there",
        "state missing": "missing",
        "state unusable": "unusable",
        "state left out": "left out",
        "commercial on": "Commercial use only: on",
        "commercial on why": "Weights whose licence forbids commercial use are kept off.",
        "commercial off": "Commercial use only: off",
        "commercial off why": "Weights that may not be used commercially serve too, where they are there.",
        "precision": "Precision of trainings left at auto: {precision}",
        "change in webui": "Change both under Settings > EasyPhoto.",
        "change in app": "Change both in the Settings tab, or when starting: serve --commercial-only --precision bf16.",
        "instead_of": "left out: {names}",
        "role detector": "Finding faces",
        "role landmarks": "Points of the face",
        "role embedder": "Likeness",
        "role parser": "Parts of the face",
        "role saliency": "Person before background",
        "role retoucher": "Skin retouching",
        "role fuser": "Face fusion",
        "role enhancer": "Enhancing",
        "captions": "{n} captions of the same name as a photo: a scene learns what they say.",
        "captions_alone": "No photo has the name of: {names}",
        "templates_uploaded": "{n} templates.",
        "taken": "taken",
        "several faces": "taken, several faces",
        "no face": "no face",
        "someone else": "someone else",
        "too small": "too small",
        "too dark": "too dark",
        "blurred": "blurred",
        "duplicate": "duplicate",
        "extreme pose": "extreme pose",
        "unreadable": "unreadable",
        "stage photos": "Looking at the photos",
        "stage crops": "Preparing the photos",
        "stage latents": "Encoding the photos",
        "stage train": "Training",
        "stage validate": "Validating",
        "stage fuse": "Fusing the LoRA",
        "stage download": "Downloading",
        "stage environment": "Setting up the environment",
        "stage template": "Reading the template",
        "stage fusion": "Fusing the face",
        "stage first": "First pass",
        "stage second": "Second pass",
        "stage background": "Background",
        "stage finish": "Finishing",
        "stage text": "Picture from text",
    }
)


def dictionary(language: str = "zh") -> dict[str, str]:
    """Return the text in ``language`` for each fixed English text of the page."""
    words = {*STATIC, *(b.what for b in Catalog.load().bundles.values())}
    words |= {text for f in FIELDS.values() if f.alone is not None for text in (f.label, f.alone)}
    for config in (TrainConfig, PortraitConfig):
        words |= {text for d in declared(config) for text in (d.param.label, d.param.help) if text}
    found = {text: translated(text, language) for text in sorted(words)}
    titled = [(pose.title, pose.title_zh) for pose in poses.known()]
    titled += [(row.title, row.title_zh) for row in fetched_gallery.rows()]
    titled += [(scene.title, scene.title_zh) for scene in scenes.known()]
    titles = {english: zh if language == "zh" else translated(english, language) for english, zh in titled}
    return {**found, **titles}


def say(key: str, language: str, **values: object) -> str:
    """Return a sentence of ``SAYINGS`` in ``language``."""
    return translated(Message(SAYINGS[key], **values), language)


def stage(name: str, language: str) -> str:
    """Return the words for a stage of a job. A stage that is not known keeps its own name."""
    key = f"stage {name}"
    return say(key, language) if key in SAYINGS else name.replace("_", " ").capitalize()


def time_left(seconds: float, language: str) -> str:
    if seconds < 90:
        return say("left_s", language, n=round(seconds))
    return say("left_min", language, n=round(seconds / 60))
