"""The doctor finds each kind of damage to a work folder, and what it mends is crawled again to the same bytes."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.crawler.checkpoints import checkpoint, done, entry, layer, measure, weights
from tests.crawler.journals import seal
from tests.end_to_end.test_crawl import hashes
from tests.program import filterzoo
from tests.tiers import fast_only
from tests.zoo import MANIFEST, write_bad, write_good

from filterzoo.errors import FilterZooError, Reason, StartError, WorkFolderBusy
from filterzoo.store.doctor import Check, Diagnosis, examine
from filterzoo.store.filters import BLOCK, axes_of
from filterzoo.store.fragment_checks import Unsound, check_filters, layer_rows
from filterzoo.store.fragments import FILTERS, LAYERS, FragmentStore
from filterzoo.store.journal_tables import VERSION
from filterzoo.store.workfolder import WorkFolder
from filterzoo_publish.release import publish, target_for


@pytest.fixture(scope="module")
def crawled(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("crawled")
    (folder / "manifest.yaml").write_text(MANIFEST)
    write_good(folder / "zoo")
    write_bad(folder / "zoo")
    assert filterzoo("crawl", "manifest.yaml", cwd=folder).code == 1
    assert filterzoo("publish", "./out", cwd=folder).code == 0
    return folder


@pytest.fixture
def folder(crawled: Path, tmp_path: Path) -> Path:
    return shutil.copytree(crawled, tmp_path / "copy")


@pytest.fixture
def work(folder: Path) -> WorkFolder:
    return WorkFolder(folder / "filterzoo-work")


def fragments(work: WorkFolder) -> dict[str, Path]:
    """The first checkpoint's two fragments."""
    with work.existing_journal() as journal:
        first = next(journal.done())
    root = Path(work.fragments_url)
    names = {"layers": first.layers_fragment + LAYERS, "filters": first.filters_fragment + FILTERS}
    return {kind: root / name[:2] / name for kind, name in names.items()}


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def found(diagnosis: Diagnosis) -> set[Check]:
    return {finding.check for finding in diagnosis.findings}


def test_a_sound_folder_is_sound_and_stays_as_it_is(folder: Path, work: WorkFolder) -> None:
    before = hashes(Path(work.fragments_url))
    for arguments in ((), ("--repair",)):
        ran = filterzoo("doctor", *arguments, "--json", cwd=folder)
        assert ran.code == 0, ran.out + ran.err
        assert ran.document == {"workdir": "filterzoo-work", "checkpoints": 5, "fragments": 10, "findings": []}
    assert "5 checkpoints, 10 fragments: sound" in filterzoo("doctor", cwd=folder).out
    assert hashes(Path(work.fragments_url)) == before
    assert filterzoo("publish", "./out", cwd=folder).out == "./out: nothing new\n"


def test_what_the_command_says(folder: Path, work: WorkFolder) -> None:
    fragments(work)["filters"].unlink()
    first = filterzoo("doctor", "--json", cwd=folder)
    assert first.code == 1
    findings = first.document["findings"]
    assert {(each["check"], each["mended"]) for each in findings} == {("fragment", False)}
    told = filterzoo("doctor", cwd=folder)
    assert told.code == 1
    assert told.out.startswith("fragment: local/zoo/")
    assert "filterzoo doctor --repair" in told.out
    repaired = filterzoo("doctor", "--repair", cwd=folder)
    assert repaired.code == 0
    assert repaired.out.startswith("mended: fragment: local/zoo/")
    assert "sound" in filterzoo("doctor", cwd=folder).out


def flip_layers(work: WorkFolder) -> None:
    path = fragments(work)["layers"]
    flip(path, path.stat().st_size // 2)


def flip_weights(work: WorkFolder) -> None:
    path = fragments(work)["filters"]
    flip(path, path.stat().st_size // 2)


def cut_filters(work: WorkFolder) -> None:
    path = fragments(work)["filters"]
    path.write_bytes(path.read_bytes()[:-9])


def exchange_filters(work: WorkFolder) -> None:
    """Another network's sound fragment under this one's name."""
    with work.existing_journal() as journal:
        names = sorted({made.filters_fragment for made in journal.done()})
    root = Path(work.fragments_url)
    first, second = (root / name[:2] / f"{name}{FILTERS}" for name in names[:2])
    shutil.copy(second, first)


def delete_layers(work: WorkFolder) -> None:
    fragments(work)["layers"].unlink()


def delete_filters(work: WorkFolder) -> None:
    fragments(work)["filters"].unlink()


def orphan(work: WorkFolder) -> None:
    (Path(work.fragments_url) / "ab").mkdir(exist_ok=True)
    (Path(work.fragments_url) / "ab" / f"ab{'0' * 62}.arrow").write_bytes(b"orphan")


def half_written(work: WorkFolder) -> None:
    (work.scratch / "0123").mkdir(parents=True)
    (work.scratch / "0123" / "filters").write_bytes(b"half")


def half_moved(work: WorkFolder) -> None:
    (Path(work.fragments_url) / "ab").mkdir(exist_ok=True)
    (Path(work.fragments_url) / "ab" / "0123.part").write_bytes(b"half")


def change_journal(work: WorkFolder, statement: str) -> None:
    with sqlite3.connect(work.journal_path) as database:
        assert database.execute(statement).rowcount > 0
        seal(database)
    database.close()


def garbage_document(work: WorkFolder) -> None:
    change_journal(work, "UPDATE done SET document = '{\"checkpoint\": 3' WHERE id LIKE '%a.pth'")


def document_without_a_field(work: WorkFolder) -> None:
    change_journal(work, "UPDATE done SET document = json_remove(document, '$.n_layers')")


def document_of_another(work: WorkFolder) -> None:
    change_journal(work, "UPDATE done SET id = 'zoo/another' WHERE id LIKE '%a.pth'")


def ledger_of_nonsense(work: WorkFolder) -> None:
    change_journal(work, "UPDATE ledger SET document = json_set(document, '$.reason', 'whim')")


def wrong_count(work: WorkFolder) -> None:
    change_journal(work, "UPDATE done SET document = json_set(document, '$.n_layers', 99)")


def flip_record(work: WorkFolder) -> None:
    """Still a document, of another integrity."""
    flip(work.journal_path, work.journal_path.read_bytes().index(b'"integrity": "') + len(b'"integrity": "'))


def flip_name_of_a_field(work: WorkFolder) -> None:
    """Not one of a newer version."""
    flip(work.journal_path, work.journal_path.read_bytes().index(b'"n_layers"') + 1)


def flip_refusal(work: WorkFolder) -> None:
    flip(work.journal_path, work.journal_path.read_bytes().index(b'"detail": "') + len(b'"detail": "'))


def change_day(work: WorkFolder) -> None:
    with closing(sqlite3.connect(work.journal_path, isolation_level=None)) as database:
        assert database.execute("UPDATE listed SET day = '2126-01-01' WHERE id LIKE '%a.pth'").rowcount


def change_source(work: WorkFolder) -> None:
    with closing(sqlite3.connect(work.journal_path, isolation_level=None)) as database:
        assert database.execute("UPDATE sources SET is_up = 0").rowcount


def truncate_journal(work: WorkFolder) -> None:
    content = work.journal_path.read_bytes()
    work.journal_path.write_bytes(content[: len(content) * 2 // 3])


def overwrite_journal(work: WorkFolder) -> None:
    work.journal_path.write_bytes(b"no database at all" * 100)


DAMAGE: dict[Callable[[WorkFolder], None], Check] = {
    flip_layers: Check.FRAGMENT,
    flip_weights: Check.FRAGMENT,
    cut_filters: Check.FRAGMENT,
    exchange_filters: Check.FRAGMENT,
    delete_layers: Check.FRAGMENT,
    delete_filters: Check.FRAGMENT,
    wrong_count: Check.FRAGMENT,
    orphan: Check.ORPHAN,
    half_written: Check.LEFTOVER,
    half_moved: Check.LEFTOVER,
    garbage_document: Check.ENTRY,
    document_without_a_field: Check.ENTRY,
    document_of_another: Check.ENTRY,
    ledger_of_nonsense: Check.ENTRY,
    flip_record: Check.ENTRY,
    flip_name_of_a_field: Check.ENTRY,
    flip_refusal: Check.ENTRY,
    change_day: Check.ENTRY,
    change_source: Check.ENTRY,
    truncate_journal: Check.JOURNAL,
    overwrite_journal: Check.JOURNAL,
}


ONE_OF_EACH = {orphan, half_written, flip_record, truncate_journal}
"""The others crawl and publish again in the slow tier."""


@pytest.mark.parametrize(
    "damage",
    fast_only(ONE_OF_EACH, DAMAGE),
    ids=lambda damage: damage.__name__,
)
def test_damage_is_found_and_repaired(damage: Callable[[WorkFolder], None], folder: Path, work: WorkFolder) -> None:
    damage(work)
    before = hashes(Path(work.fragments_url))
    first = examine(work)
    assert DAMAGE[damage] in found(first)
    assert not any(finding.mended for finding in first.findings)
    assert hashes(Path(work.fragments_url)) == before
    repaired = examine(work, repair=True)
    assert found(repaired) >= found(first)
    assert repaired.is_sound
    assert examine(work).findings == []
    crawled_again = filterzoo("crawl", "manifest.yaml", "--json", cwd=folder)
    assert crawled_again.document["checkpoints"] == {"done": 5, "skipped": 0, "failed": 4}
    publish(folder / "filterzoo-work", target_for(str(folder / "again")))
    assert hashes(folder / "again") == hashes(folder / "out")


ROT = (
    *(flip_layers, flip_weights, cut_filters, exchange_filters, delete_layers, delete_filters, wrong_count),
    *(flip_record, flip_name_of_a_field, flip_refusal, change_day, change_source),
)


@pytest.mark.parametrize("damage", ROT, ids=lambda damage: damage.__name__)
def test_nothing_damaged_is_published(damage: Callable[[WorkFolder], None], folder: Path, work: WorkFolder) -> None:
    damage(work)
    with pytest.raises(FilterZooError, match=r"run `filterzoo doctor --repair`"):
        publish(folder / "filterzoo-work", target_for(str(folder / "new")))
    assert not (folder / "new").exists()


@pytest.mark.parametrize("damage", [flip_record, flip_refusal], ids=lambda damage: damage.__name__)
def test_a_crawl_goes_on_from_no_damaged_record(
    damage: Callable[[WorkFolder], None], folder: Path, work: WorkFolder
) -> None:
    damage(work)
    before = work.journal_path.read_bytes(), hashes(Path(work.fragments_url))
    ran = filterzoo("crawl", "manifest.yaml", cwd=folder)
    assert ran.code == 2
    assert "is not what was written there (its checksum differs); run `filterzoo doctor --repair`" in ran.err
    assert len(ran.err.splitlines()) == 1
    assert (work.journal_path.read_bytes(), hashes(Path(work.fragments_url))) == before


def test_no_flipped_bit_of_the_journal_goes_unnoticed(work: WorkFolder) -> None:
    """Each of 60 in turn: the doctor tells of it, or every row is what it was."""

    def rows() -> object:
        with work.existing_journal(read_only=True) as journal:
            return list(journal.done_and_listed()), list(journal.ledger()), journal.sources()

    sound, content = rows(), work.journal_path.read_bytes()
    chance = random.Random(0)
    noticed = 0
    for place in chance.sample([place for place, byte in enumerate(content) if byte], 60):
        damaged = bytearray(content)
        damaged[place] ^= 1 << chance.randrange(8)
        work.journal_path.write_bytes(damaged)
        try:
            is_noticed = bool(examine(work).findings)
        except FilterZooError:
            is_noticed = True
        noticed += is_noticed
        assert is_noticed or rows() == sound, place
        for path in work.path.glob("journal.sqlite-*"):
            path.unlink()
    assert noticed > 50


def test_a_table_whose_name_is_no_text_is_damage(work: WorkFolder) -> None:
    work.journal_path.write_bytes(work.journal_path.read_bytes().replace(b"sources", b"\xffources"))
    assert found(examine(work)) == {Check.JOURNAL}
    assert examine(work, repair=True).is_sound


def test_the_checkpoint_of_a_changed_record_is_restored_from_its_fragment(work: WorkFolder) -> None:
    with work.existing_journal() as journal:
        before = list(journal.done())
    flip_record(work)
    assert examine(work, repair=True).is_sound
    with work.existing_journal() as journal:
        assert list(journal.done()) == before
    assert examine(work).findings == []
    assert '"table": "done"' in (work.aside / "journal.jsonl").read_text(), "the changed one is kept"


def null_statistics(work: WorkFolder) -> None:
    """A layers fragment whose statistics are gone; nothing else of it changes."""
    path = fragments(work)["layers"]
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    place = table.schema.get_field_index("raw_mean")
    nothing = pa.nulls(len(table), table.schema.field(place).type)
    made = path.with_suffix(".new")  # the old one is mapped
    with pa.ipc.new_file(str(made), table.schema) as writer:
        writer.write_table(table.set_column(place, table.schema.field(place), nothing))
    made.replace(path)


def test_statistics_that_are_gone_are_not_published(folder: Path, work: WorkFolder) -> None:
    null_statistics(work)
    with pytest.raises(FilterZooError, match="sha256"):
        publish(folder / "filterzoo-work", target_for(str(folder / "new")))


def newer_version(work: WorkFolder) -> None:
    with closing(sqlite3.connect(work.journal_path)) as database:
        database.execute(f"PRAGMA user_version = {VERSION + 1}")


def newer_column(work: WorkFolder) -> None:
    with closing(sqlite3.connect(work.journal_path)) as database:
        database.execute("ALTER TABLE done ADD COLUMN colour TEXT")


def newer_table(work: WorkFolder) -> None:
    with closing(sqlite3.connect(work.journal_path)) as database:
        database.execute("CREATE TABLE colours (name TEXT)")


def newer_field(work: WorkFolder) -> None:
    change_journal(work, "UPDATE done SET document = json_set(document, '$.colour', 'red')")


def newer_field_of_an_artifact(work: WorkFolder) -> None:
    change_journal(work, "UPDATE done SET document = json_set(document, '$.checkpoint.artifacts[0].colour', 'red')")


def newer_field_of_the_ledger(work: WorkFolder) -> None:
    change_journal(work, "UPDATE ledger SET document = json_set(document, '$.colour', 'red')")


NEWER = (
    newer_version,
    newer_column,
    newer_table,
    newer_field,
    newer_field_of_an_artifact,
    newer_field_of_the_ledger,
)


@pytest.mark.parametrize("change", NEWER, ids=lambda change: change.__name__)
def test_what_a_newer_version_wrote_is_refused_and_stays(
    change: Callable[[WorkFolder], None], folder: Path, work: WorkFolder
) -> None:
    change(work)
    half_written(work)
    before, document = hashes(Path(work.fragments_url)), work.journal_path.read_bytes()
    commands = (("doctor", "--repair"), ("doctor",), ("status",), ("publish", "./out"), ("crawl", "manifest.yaml"))
    for arguments in commands:
        ran = filterzoo(*arguments, cwd=folder)
        assert ran.code == 2, (arguments, ran.out, ran.err)
        assert "was written by a newer version" in ran.err
        assert len(ran.err.splitlines()) == 1
    assert hashes(Path(work.fragments_url)) == before
    assert work.journal_path.read_bytes() == document
    assert (work.scratch / "0123").exists()


def test_a_journal_before_versions_is_migrated(work: WorkFolder) -> None:
    with closing(sqlite3.connect(work.journal_path, isolation_level=None)) as database:
        database.execute("DROP TABLE listed")
        database.execute("ALTER TABLE done DROP COLUMN checksum")
        database.execute("ALTER TABLE ledger DROP COLUMN checksum")
        database.execute("PRAGMA user_version = 0")
    with work.existing_journal() as journal:
        assert len(list(journal.done())) == 5
        assert dict(journal.listed()) == {}
    with closing(sqlite3.connect(work.journal_path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)


@pytest.mark.slow
def test_a_lost_journal_is_rebuilt_from_the_fragments(folder: Path, work: WorkFolder) -> None:
    with work.existing_journal() as journal:
        before = list(journal.done())
    for path in work.path.glob("journal.sqlite*"):
        path.unlink()
    assert "its journal is lost" in filterzoo("status", cwd=folder).err
    assert found(examine(work)) == {Check.JOURNAL}
    assert not work.journal_path.exists(), "nothing was mended yet"
    assert examine(work, repair=True).is_sound
    assert examine(work).findings == []
    with work.existing_journal() as journal:
        assert list(journal.done()) == before
    again = filterzoo("crawl", "manifest.yaml", "--json", cwd=folder).document
    assert again["checkpoints"] == {"done": 5, "skipped": 0, "failed": 4}
    publish(folder / "filterzoo-work", target_for(str(folder / "again")))
    assert hashes(folder / "again") == hashes(folder / "out")


@pytest.mark.parametrize("is_empty", [False, True], ids=["missing", "empty"])
def test_a_crawl_beside_fragments_of_a_lost_journal_refuses_and_changes_nothing(
    folder: Path, work: WorkFolder, *, is_empty: bool
) -> None:
    """A new journal would know nothing of them: all would be fetched again, under records without their history."""
    for path in work.path.glob("journal.sqlite*"):
        path.unlink()
    if is_empty:
        work.journal_path.touch()
    before = hashes(work.path)
    for arguments in (("crawl", "manifest.yaml"), ("status",), ("publish", "out")):
        ran = filterzoo(*arguments, cwd=folder)
        assert ran.code == 2, (arguments, ran.out)
        assert "its journal is lost; `filterzoo doctor --repair --workdir filterzoo-work` rebuilds it" in ran.err
        assert len(ran.err.splitlines()) == 1
    assert hashes(work.path) == before
    assert filterzoo("doctor", "--repair", cwd=folder).code == 0
    with work.existing_journal() as journal:
        assert len(list(journal.done())) == 5


def test_what_is_taken_away_is_kept(work: WorkFolder) -> None:
    orphan(work)
    garbage_document(work)
    gone = set(hashes(Path(work.fragments_url)))
    assert examine(work, repair=True).is_sound
    gone -= set(hashes(Path(work.fragments_url)))
    assert len(gone) > 1
    assert set(hashes(work.path / "fragments.aside")) == gone
    assert '\\"checkpoint\\": 3' in (work.aside / "journal.jsonl").read_text()


@pytest.mark.parametrize("kind", ["layers", "filters"])
def test_no_flipped_byte_changes_what_is_published_unnoticed(kind: str, work: WorkFolder) -> None:
    """Each of 300 bytes in turn: the doctor tells of it, or what is read back is the same (padding, say)."""
    path = fragments(work)[kind]
    store, content = work.store(), path.read_bytes()
    with work.existing_journal() as journal:
        first = next(journal.done())
    sound = list(store.filters(first.filters_fragment)) if kind == "filters" else None
    sound = [batch.to_pylist() for batch in sound] if sound else None
    noticed = 0
    ends = [*range(64), *range(len(content) - 64, len(content))]
    for place in [*ends, *random.Random(0).sample(range(len(content)), 300)]:
        flip(path, place)
        try:
            rows = layer_rows(store, first.layers_fragment)
            check_filters(store, first.filters_fragment, rows)
        except Unsound:
            noticed += 1
        else:
            assert kind == "filters", f"byte {place} of the layers"
            assert [batch.to_pylist() for batch in store.filters(first.filters_fragment)] == sound, place
        finally:
            path.write_bytes(content)
    assert noticed > 250


def test_layers_of_several_blocks_are_followed(tmp_path: Path) -> None:
    store = FragmentStore(str(tmp_path / "store"), tmp_path / "scratch")
    large = np.random.default_rng(1).standard_normal((BLOCK // 64 + 3, 128, 3, 3)).astype(np.float32)
    taken = [layer(0, large), layer(1, weights(1, 4, 2, 1, 1)), layer(2, weights(2)), layer(3, large)]
    with store.writer(frozenset({"3x3"}), axes_of(checkpoint(), "permissive"), {}) as writer:
        for each in taken:
            writer.add(each, measure())
        layers_name, filters_name = writer.finish()
    rows = layer_rows(store, layers_name)
    check_filters(store, filters_name, rows)
    with pytest.raises(Unsound, match="has not"):
        check_filters(store, filters_name, rows[1:3])
    with pytest.raises(Unsound, match="not those of the checkpoint"):
        check_filters(store, filters_name, [*rows, rows[0] | {"layer_id": "0" * 64}])  # type: ignore[operator]  # of a parsed or untyped object
    with pytest.raises(Unsound, match="not those of the checkpoint"):
        check_filters(store, filters_name, rows[::-1][1:])


def test_foreign_files_are_reported_and_kept(folder: Path, work: WorkFolder) -> None:
    stranger = Path(work.fragments_url) / "notes.txt"
    stranger.write_text("mine")
    ran = filterzoo("doctor", "--repair", cwd=folder)
    assert ran.code == 1
    assert "stranger: fragments/notes.txt" in ran.out
    assert stranger.read_text() == "mine"


@pytest.mark.parametrize("length", [0, 1, 99, 100, 4_095, 4_096, 4_097, 8_192, 12_000, 20_000])
def test_journals_of_any_length(length: int, work: WorkFolder) -> None:
    """However short the journal was cut: the doctor ends, and a second one finds nothing."""
    content = work.journal_path.read_bytes()
    assert len(content) > length
    work.journal_path.write_bytes(content[:length])
    assert examine(work, repair=True).is_sound
    assert examine(work).findings == []


def test_a_damaged_journal_is_kept_and_what_can_be_read_is_saved(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path)
    with work.journal() as journal:
        journal._database.execute("PRAGMA synchronous=OFF")
        for number in range(400):
            journal.record_ledger(entry(checkpoint(f"net{number:03}"), Reason.DAMAGED), "s")
    content = bytearray(work.journal_path.read_bytes())
    middle = content.index(b'"id": "net200"')
    page = middle - middle % 4096
    content[page : page + 8] = b"\xff" * 8
    work.journal_path.write_bytes(content)
    assert found(examine(work)) == {Check.JOURNAL}
    assert found(examine(work, repair=True)) == {Check.JOURNAL}
    with work.existing_journal() as journal:
        kept = [each.id for each in journal.ledger()]
    assert 300 < len(kept) < 400
    assert {"net000", "net399"} <= set(kept)
    assert (tmp_path / "journal.broken-1.sqlite").read_bytes() == content


def test_a_plugin_entry_of_nonsense_is_forgotten(work: WorkFolder) -> None:
    with work.existing_journal() as journal:
        journal.record_ledger(entry(id=None, revision=None, reason=Reason.PLUGIN_ERROR))
    change_journal(work, "UPDATE ledger SET document = '{}' WHERE id IS NULL")
    assert found(examine(work, repair=True)) == {Check.ENTRY}
    assert examine(work).findings == []


def test_fragments_of_one_content_are_kept_while_one_needs_them(work: WorkFolder) -> None:
    """Two records have the same filters; the loss of one's layers must not take them from the other."""
    with work.existing_journal() as journal:
        first = next(journal.done())
        twin = replace(first, checkpoint=replace(first.checkpoint, id="twin"), layers_fragment="0" * 64)
        journal.record_done(twin, "s")
    assert found(examine(work, repair=True)) == {Check.FRAGMENT}
    assert work.store().exists(first.filters_fragment)
    assert examine(work).findings == []


def test_hostile_names_are_printed_escaped(tmp_path: Path) -> None:
    with WorkFolder(tmp_path / "w").journal() as journal:
        journal.record_done(done(checkpoint("\x1b[2J\u202e\nx")), "s")
    ran = filterzoo("doctor", "--workdir", "w", cwd=tmp_path)
    assert ran.code == 1
    assert "\x1b" not in ran.out
    assert "\u202e" not in ran.out
    assert len(ran.out.splitlines()) == 3


def test_it_waits_for_nobody_and_starts_nowhere(work: WorkFolder, tmp_path: Path) -> None:
    with work, pytest.raises(WorkFolderBusy):
        examine(WorkFolder(work.path))
    with pytest.raises(StartError, match="no crawl has been here"):
        examine(WorkFolder(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()
    assert filterzoo("doctor", "--workdir", "nowhere", cwd=tmp_path).code == 2
    with work:
        assert filterzoo("doctor", "--workdir", work.path).code == 3
