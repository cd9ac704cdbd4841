"""The stream: every image once an epoch, the same for any number of workers, and no hang."""

import dataclasses
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import jax
import numpy as np
import pytest

from gpool_jax.cli import main as cli
from gpool_jax.config import DataConfig, checks, plain
from gpool_jax.data import workers
from gpool_jax.data.images import records
from gpool_jax.data.stream import StreamFeed
from gpool_jax.errors import InputError, RunError
from gpool_jax.experiments import driver, training
from gpool_jax.experiments.position import training as position
from gpool_jax.train import loop
from gpool_jax.train.checkpoint import Checkpoints
from tests import imagesets
from tests.helpers import slow_but_first, tiny
from tests.imagesets import folder_config, load, numbers, tfds_config


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    imagesets.write_tfds(root)
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return imagesets.write_folder(tmp_path_factory.mktemp("folder"))


@pytest.fixture(scope="module")
def train(tfds_dir):
    """36 training images."""
    return load(tfds_config(tfds_dir)).train


@pytest.fixture
def open_feed(train):
    """Makes feeds that are closed when the test ends, however it ends."""
    feeds = []

    def make(split=train, workers=0, min_scale=0.08, **options):
        config = DataConfig(workers=workers, min_scale=min_scale)
        feeds.append(split.feed(config, **({"batch_size": 12, "seed": 0} | options)))
        return feeds[-1]

    yield make
    for feed in feeds:
        feed.close()


# Order


def test_every_image_is_seen_once_an_epoch_over_two_processes(open_feed, train):
    whole = open_feed().inputs_at(0, 6)
    shares = [open_feed(process_index=i, process_count=2).inputs_at(0, 6) for i in (0, 1)]
    for name in ("images", "labels", "position"):
        together = np.concatenate([share[name] for share in shares], axis=1)
        np.testing.assert_array_equal(together, whole[name])
    np.testing.assert_array_equal(whole["position"], np.tile(np.arange(12), (6, 1)))
    every = sorted(numbers(train.batch(np.arange(36))["images"]))
    epochs = [numbers(whole["images"][:3]), numbers(whole["images"][3:])]
    assert sorted(epochs[0]) == sorted(epochs[1]) == every
    assert epochs[0] != epochs[1]
    assert epochs[0] != every
    labels = [imagesets.label_of(number) for number in epochs[0]]
    assert whole["labels"][:3].ravel().tolist() == labels


def test_the_rest_of_an_epoch_is_left_out_and_changes(open_feed):
    feed = open_feed(batch_size=16)  # two batches, four images left over
    epochs = [set(numbers(feed.inputs_at(2 * i, 2)["images"])) for i in range(6)]
    assert {len(epoch) for epoch in epochs} == {32}
    assert len(set.union(*epochs)) == 36


def test_another_seed_gives_another_order_and_an_epoch_other_crops(open_feed):
    one, two = open_feed(seed=0).inputs_at(0, 6), open_feed(seed=1).inputs_at(0, 6)
    assert numbers(one["images"]) != numbers(two["images"])
    # No epoch of one seed is an epoch of the next.
    assert numbers(one["images"][3:]) != numbers(two["images"][:3])
    first, later = (
        dict(zip(numbers(part), part.reshape(-1, 16, 16, 3), strict=True))
        for part in (one["images"][:3], one["images"][3:])
    )
    same = [np.array_equal(image, later[number]) for number, image in first.items()]
    assert sum(same) < 4


def test_the_stream_leaves_mirroring_to_the_device(open_feed):
    images = open_feed().inputs_at(0, 3)["images"].reshape(-1, 16, 16, 3)
    green = images[..., 1].astype(float).mean(1)
    assert (green[:, -1] > green[:, 0]).all()


# Going on


def test_stopped_in_mid_epoch_it_goes_on_with_the_same_bytes(open_feed):
    straight = open_feed().inputs_at(0, 9)
    for count in (0, 2):
        first = open_feed(workers=count)
        parts = [first.inputs_at(0, 1), first.inputs_at(1, 4)]
        state = json.loads(json.dumps(first.state()))
        assert state["next_batch"] == 5
        first.close()
        second = open_feed(workers=count)
        second.restore(state, 5)
        parts += [second.inputs_at(5, 3), second.inputs_at(8, 1)]
        for name, wanted in straight.items():
            found = np.concatenate([part[name] for part in parts])
            assert found.dtype == wanted.dtype
            assert found.tobytes() == wanted.tobytes(), (name, count)


def test_a_step_out_of_sequence_is_found(open_feed):
    feed = open_feed()
    six = feed.inputs_at(0, 6)
    np.testing.assert_array_equal(feed.inputs_at(2, 1)["images"][0], six["images"][2])


def test_the_stream_of_another_run_is_refused(open_feed, train):
    feed = open_feed()
    feed.inputs_at(0, 2)
    changes = [
        ({"seed": 1}, "seed was 0, and is 1"),
        ({"batch_size": 6}, "batch_size was 12, and is 6"),
        ({"min_scale": 0.5}, "crop was 'side 16, min_scale 0.08"),
        ({"split": train.take(np.arange(20))}, "records was '36 images"),
    ]
    for options, message in changes:
        with pytest.raises(InputError, match=f"cannot go on .* step 2: {message}"):
            open_feed(**options).restore(feed.state(), 2)
    with pytest.raises(InputError, match="next_batch was 2, and is 3"):
        open_feed().restore(feed.state(), 3)


# Training


def streamed(folder, **data):
    """Six steps on canvases of 2 x 2 images, validated after three and six."""
    data = {"side": 8, "workers": 0, "num_train": None} | data
    config = folder_config(folder, **data)
    return dataclasses.replace(
        tiny(n=2, train={"num_val": None}, eval={"num_images": 5}), data=config
    )


def fit(config, run):
    return driver.train(position.prepare(config), run, warn=pytest.fail)


def bits(state):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    return fit(streamed(folder), tmp_path_factory.mktemp("finished") / "run")


def stop_at(monkeypatch, step):
    original = StreamFeed.inputs_at

    def stopping(self, first, count):
        if first == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, first, count)

    monkeypatch.setattr(StreamFeed, "inputs_at", stopping)


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_with_the_same_bits(folder, finished, tmp_path, monkeypatch):
    run = tmp_path / "run"
    stop_at(monkeypatch, 4)
    with pytest.raises(loop.Stopped, match="at step 5"):
        fit(streamed(folder), run)
    monkeypatch.undo()
    saved = Checkpoints(run / "checkpoints").describe(5)["feed"]
    assert saved["next_batch"] == 5
    # How many processes decode is the machine's business, not the run's.
    assert bits(fit(streamed(folder, workers=2), run)) == bits(finished)


@pytest.mark.slow
def test_a_checkpoint_without_a_stream_goes_on_exactly_and_another_is_refused(
    folder, finished, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    stop_at(monkeypatch, 4)
    monkeypatch.setattr(StreamFeed, "state", lambda self: None)
    with pytest.raises(loop.Stopped):
        fit(streamed(folder), run)
    monkeypatch.undo()
    assert Checkpoints(run / "checkpoints").describe(5)["feed"] is None
    other = {"feed": {"next_batch": 0}}
    monkeypatch.setattr(Checkpoints, "describe", lambda self, step: other)
    with pytest.raises(InputError, match="cannot go on from the checkpoint of step 5"):
        fit(streamed(folder), run)
    monkeypatch.undo()
    assert bits(fit(streamed(folder), run)) == bits(finished)


@pytest.mark.parametrize("task", ["location", "recognition"])
def test_validation_from_disk_is_that_of_the_same_images_in_memory(folder, task):
    config = streamed(folder)
    config = dataclasses.replace(
        config, task=task, eval=dataclasses.replace(config.eval, batch_size=1)
    )
    setup = position.prepare(config)
    # Nine images on eight devices: two batches, the second nearly empty.
    on_disk = dataclasses.replace(setup.dataset, val=setup.dataset.test)
    in_memory = dataclasses.replace(setup.dataset, val=setup.dataset.test.load())
    state = setup.init_state()
    found, wanted = (
        position.make_validate(dataclasses.replace(setup, dataset=d))(state)
        for d in (on_disk, in_memory)
    )
    assert found == pytest.approx(wanted, rel=1e-5)
    assert found["loss"] > 0


@pytest.mark.slow
def test_gpool_train_runs_from_a_folder_to_a_report(folder, tmp_path):
    config = streamed(folder)
    probe = dataclasses.replace(config.probe, num_images=9)
    config = dataclasses.replace(config, probe=probe)
    path = tmp_path / "config.py"
    text = json.dumps(plain.to_dict(config))
    path.write_text(
        "import json\nfrom gpool_jax.config import plain\n"
        f"config = plain.from_dict(json.loads({text!r}))\n"
    )
    run = tmp_path / "run"
    assert cli.main(["train", str(path), "--workdir", str(run), "--data.workers", "0"]) in (None, 0)
    result = json.loads((run / "results.json").read_text())
    assert result["rows"][0]["num_images"] == 5
    whole = dataclasses.replace(config, eval=dataclasses.replace(config.eval, num_images=None))
    with pytest.raises(InputError, match="`eval.num_images` must be given with data.stream"):
        position.prepare(whole)


def test_the_feed_of_a_run_follows_its_config(folder, monkeypatch):
    config = streamed(folder, workers=3, min_scale=0.5)
    setup = position.prepare(dataclasses.replace(config, seed=7))
    split = setup.dataset.train
    feed = types.SimpleNamespace(data={})
    made = []
    monkeypatch.setattr(
        records, "StreamFeed", lambda *given, **options: made.append((*given, options)) or feed
    )
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert training.make_feed(setup) is feed
    ((example, count, options),) = made
    assert feed.data.keys() == {"resident", "mean", "std", "seed"}
    assert (example.func, example.keywords) == (split.example, {"min_scale": 0.5})
    assert count == len(split)
    # Saved streams go on with the same words alone.
    assert options.pop("identity") == {
        "records": f"36 images, {split.checksum}",
        "crop": "side 8, min_scale 0.5, flip False",
    }
    assert options == {
        "batch_size": config.train.batch_size,
        "seed": 7,
        "workers": 3,
        "process_index": 1,
        "process_count": 2,
    }


def test_bad_numbers_are_refused(folder):
    for name, value in (("min_scale", 0.0), ("min_scale", 1.5), ("workers", -1), ("resize", 0)):
        with pytest.raises(InputError, match=f"`data.{name}` must be .*got {value}"):
            checks.check(streamed(folder, **{name: value}))
    checks.check(streamed(folder, workers=0))


def test_fewer_images_than_a_batch_are_refused_before_training(folder, train):
    config = tiny(n=2, train={"batch_size": 40}, eval={"num_images": 5})
    config = dataclasses.replace(config, data=folder_config(folder))
    with pytest.raises(InputError, match="`train.batch_size` must be at most the 36 .*got 40"):
        position.prepare(config)
    with pytest.raises(InputError, match="`train.batch_size` must be at most the 36 .*got 40"):
        train.feed(DataConfig(), batch_size=40, seed=0)


# Workers


@pytest.fixture
def deadline():
    """A wait for ever is a failure, not a suite that never ends."""

    def late(number, frame):
        raise TimeoutError("no answer in time")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(40)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def read_on(feed):
    for step in range(1, 50):
        feed.inputs_at(step, 1)


def test_a_killed_worker_ends_the_run_within_seconds(open_feed, deadline):
    feed = open_feed(workers=2)
    feed.inputs_at(0, 1)
    pids = [process.pid for process in feed._open._workers]
    assert len(pids) == 2
    os.kill(pids[0], signal.SIGKILL)
    started = time.monotonic()
    with pytest.raises(RunError, match=r"has died \(exit code -9\); the run stops") as error:
        read_on(feed)
    feed.close()
    assert time.monotonic() - started < 15
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("count", slow_but_first([1, 0]))
def test_a_stream_that_failed_fails_again_and_leaves_no_process(
    tmp_path, open_feed, deadline, count
):
    imagesets.write_tfds(tmp_path, replace=dict.fromkeys(range(40), b"no image"))
    feed = open_feed(load(tfds_config(tmp_path)).train, workers=count)
    for _ in range(2):
        with pytest.raises(RunError, match="is a broken image"):
            feed.inputs_at(0, 1)
        assert not multiprocessing.active_children()


ORPHAN = """
import sys
import time
from pathlib import Path

from tests import imagesets

if __name__ == "__main__":
    config = imagesets.folder_config(Path(sys.argv[1]), workers=2)
    feed = imagesets.load(config).train.feed(config, batch_size=4, seed=0)
    feed.inputs_at(0, 1)
    print(*(process.pid for process in feed._open._workers), flush=True)
    time.sleep(60)
"""


def running(pid):
    """Whether a process lives; one that has ended and waits to be collected does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
def test_workers_end_with_a_parent_that_was_killed(folder, tmp_path, deadline):
    script = tmp_path / "train.py"
    script.write_text(ORPHAN)
    root = str(Path(__file__).parent.parent)
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, str(script), str(folder)]
    pids = []
    try:
        with subprocess.Popen(
            command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True
        ) as parent:
            pids = [int(pid) for pid in parent.stdout.readline().split()]
            assert len(pids) == 2
            assert all(running(pid) for pid in pids)
            parent.kill()
        until = time.monotonic() + 10
        while any(running(pid) for pid in pids) and time.monotonic() < until:
            time.sleep(0.1)
        assert not any(running(pid) for pid in pids)
    finally:
        for pid in filter(running, pids):
            os.kill(pid, signal.SIGKILL)


class EndsQuietly:
    """Ends its process as if all were well: grain alone would wait for ever."""

    def __call__(self, place, generator):
        os._exit(0)


@pytest.mark.slow
def test_a_worker_that_ends_without_a_word_is_noticed(monkeypatch, deadline):
    monkeypatch.setattr(workers, "_GRACE_SECONDS", 1.0)
    monkeypatch.setattr(workers, "_CLOSE_SECONDS", 2.0)
    feed = StreamFeed(EndsQuietly(), 8, identity={}, batch_size=2, seed=0, workers=1)
    started = time.monotonic()
    with pytest.raises(RunError, match="has died"):
        feed.inputs_at(0, 1)
    assert time.monotonic() - started < 20


class Surroundings:
    """What a worker finds around itself."""

    def __call__(self, place, generator):
        numbers = (signal.SIGINT, signal.SIGTERM)
        ignored = [signal.getsignal(number) == signal.SIG_IGN for number in numbers]
        # Blocked before any code of ours ran, that is while the process started.
        blocked = set(numbers) <= signal.pthread_sigmask(signal.SIG_BLOCK, ())
        started = "jax" in sys.modules and jax._src.xla_bridge.backends_are_initialized()
        return {"found": np.array([*ignored, blocked, not started, jax.default_backend() == "cpu"])}


def test_workers_leave_the_accelerator_and_the_signals_alone(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda,cpu")
    feed = StreamFeed(Surroundings(), 8, identity={}, batch_size=2, seed=0, workers=1)
    try:
        found = feed.inputs_at(0, 1)["found"]
    finally:
        feed.close()
    assert found[0, 0].tolist() == [True] * 5
    assert os.environ["JAX_PLATFORMS"] == "cuda,cpu"


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 1])
def test_what_is_damaged_inside_is_named_when_it_is_read(tmp_path, open_feed, count):
    def message(root, **options):
        imagesets.write_tfds(root, **options)
        feed = open_feed(load(tfds_config(root)).train, workers=count, batch_size=36)
        with pytest.raises(RunError) as error:
            feed.inputs_at(0, 1)
        feed.close()
        assert "\n" not in str(error.value)
        return str(error.value)

    row = int(load_rows(tmp_path)[5])
    shard_number = [row < 14, 14 <= row < 27, row >= 27].index(True)
    record = f"record {row - [0, 14, 27][shard_number]} of .*-0000{shard_number}-of-00003"
    cut = imagesets.jpeg(imagesets.picture(row))[:200]
    assert_match(f"{record} is a broken image", message(tmp_path / "jpeg", replace={row: cut}))
    found = message(tmp_path / "label", labels={row: 7})
    assert_match(f"label of {record} is out of range: 7; there are 3 classes", found)


def load_rows(tmp_path):
    imagesets.write_tfds(tmp_path / "whole")
    return load(tfds_config(tmp_path / "whole")).train.rows


def assert_match(pattern, text):
    assert re.search(pattern, text), text
