"""TotalSegmentator (doi:10.1148/ryai.230024): nnU-Nets that segment CT and MR; only those with open weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from filterzoo import Artifact, Checkpoint
from filterzoo_plugins.sources.medical._repository import MedicalRepository
from filterzoo_plugins.sources.packages.python_tables import assigned, literal, parse

CONFIG = "totalsegmentator/map_tasks_config.py"
CLASSES = "totalsegmentator/map_to_binary.py"
REGISTRY = "totalsegmentator/registry.py"
_RELEASES = "https://github.com/wasserth/TotalSegmentator/releases/download"
_MODEL = "checkpoint_final.pth"
_PAGE = "https://github.com/wasserth/TotalSegmentator"


def checkpoints(repository: MedicalRepository) -> Iterator[Checkpoint]:
    """Every zip of a release; the others require a licence server and are not requested.

    The member is at the path that the package itself uses: `DATASET/TRAINER__nnUNetPlans__CONFIGURATION/fold_N/...`.
    """
    texts = repository.tables.texts([CONFIG, CLASSES, REGISTRY])
    trees = {file: parse(text, file) for file, text in texts.items()}
    weights = literal(assigned(trees[CONFIG], "TASK_ID_WEIGHTS_CONFIGS", CONFIG)) or {}
    defaults = literal(assigned(trees[CONFIG], "DEFAULT_CONFIG", CONFIG)) or {}
    licensed = (literal(assigned(trees[CLASSES], "commercial_models", CLASSES)) or {}).values()
    mr_tasks = literal(assigned(trees[REGISTRY], "_MR_TASKS_WITHOUT_SUFFIX", REGISTRY)) or []
    for task_id, task, config in _tasks(literal(assigned(trees[CONFIG], "TASK_CONFIGS", CONFIG)) or {}):
        match weights.pop(task_id, None):
            case {"commercial": True}:
                continue
            case {"foldername": str(folder), "version": str(version)} if version != "TODO" and task_id not in licensed:
                columns = repository.facts(task, "mr" if task.endswith("_mr") or task in mr_tasks else "ct")
                for fold, member in _members(folder, {**defaults, **config}, all_folds=repository.all_folds):
                    artifact = Artifact(url=f"{_RELEASES}/{version}/{folder}.zip", name=_MODEL, member=member)
                    yield repository.checkpoint(f"{task}/{folder}/{fold}", version, [artifact], url=_PAGE, **columns)


def _tasks(tasks: Mapping[Any, Any]) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """(number of the weights, task, configuration); a task may have several weights and several configurations."""
    for task, config in tasks.items():
        modes = config.get("sub_modes", {"": config}) if isinstance(config, dict) else {}
        for mode in modes.values():
            ids = mode.get("task_id") if isinstance(mode, dict) else None
            for task_id in ids if isinstance(ids, list) else [ids]:
                if isinstance(task_id, int):
                    yield task_id, str(task), mode


def _members(folder: str, config: Mapping[str, Any], *, all_folds: bool) -> Iterator[tuple[str, str]]:
    """(fold, member of the zip) of each network that the task's configuration uses, or only of the first."""
    plans = config.get("plans") or "nnUNetPlans"
    network = f"{folder}/{config.get('trainer') or 'nnUNetTrainer'}__{plans}__{config.get('model')}"
    folds = config.get("folds") or [0]
    for fold in folds if all_folds else folds[:1]:
        yield f"fold_{fold}", f"{network}/fold_{fold}/{_MODEL}"
