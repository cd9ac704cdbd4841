"""Batches decoded by worker processes; the wait for one ends when a process dies."""

import contextlib
import functools
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import resource_tracker
from typing import Any

import numpy as np

from gpool_jax.errors import InputError, RunError

_POLL_SECONDS = 0.5
# Grain itself notices most dead workers; it may first deliver what it still has.
_GRACE_SECONDS = 5.0
_CLOSE_SECONDS = 10.0
_GRAIN_WORKER = "grain-process-prefetch"
# Beginning of grain's error message.
_DIED = "Worker process was terminated unexpectedly"
# A Ctrl-C or a scheduler's SIGTERM goes to the whole group: the loop saves and then ends its
# workers itself.
_NOT_FOR_WORKERS = (signal.SIGINT, signal.SIGTERM)


class WorkerBatches(Iterator[dict[str, np.ndarray]]):
    """Batches of a `grain.MapDataset`, decoded in other processes.

    A thread waits for grain, and the caller waits for the thread while it watches the
    processes: if one is killed at a bad moment, grain waits for ever.

    Reading raises a RunError if a worker has died. A script that trains with workers needs
    `if __name__ == "__main__":`, because each worker imports it first.
    """

    def __init__(self, dataset: Any, workers: int):
        """Describe `workers` processes; the first batch starts them."""
        import grain
        from absl import flags

        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # grain reads its options there
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
        multiprocess = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=1)
        set_up = functools.partial(_set_up_worker, os.getpid())
        batches = dataset.to_iter_dataset(options)
        self._dataset = batches.mp_prefetch(multiprocess, worker_init_fn=set_up)
        # Started before the thread, because it unblocks signals as it starts.
        resource_tracker.ensure_running()
        self._before = set(multiprocessing.active_children())
        self._count = workers
        self._workers: list[Any] = []
        self._ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(1)
        self._closing = threading.Event()
        self._iterator: Any = None
        self._thread = threading.Thread(target=self._read, name="gpool-stream", daemon=True)

    def __next__(self) -> dict[str, np.ndarray]:
        if self._thread.ident is not None:
            return self._wait()
        # Processes that start here inherit what keeps them off the accelerator.
        with _without_accelerator():
            self._thread.start()
            return self._wait()

    def _wait(self) -> dict[str, np.ndarray]:
        gone_since = None
        self._gone()  # so that every process is known before it can end
        while True:
            try:
                batch, error = self._ready.get(timeout=_POLL_SECONDS)
                break
            except queue.Empty:
                if self._gone():
                    gone_since = gone_since or time.monotonic()
                    if time.monotonic() - gone_since > _GRACE_SECONDS:
                        batch, error = None, RuntimeError(f"{_DIED}, and no batch came")
                        break
        if error is not None:
            raise self._explain(error) from None
        return batch

    def close(self) -> None:
        """End the thread and the processes."""
        self._closing.set()
        if self._thread.ident is None:
            return
        self._thread.join(0 if self._gone() else _CLOSE_SECONDS)
        if self._thread.is_alive():
            # Stuck: without its processes grain gives up.
            for process in self._workers:
                process.kill()
            self._thread.join(_CLOSE_SECONDS)
        if self._iterator is not None and not self._thread.is_alive():
            self._iterator.close()

    def _read(self) -> None:
        # The processes inherit this from the start; the main thread still receives signals.
        signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_FOR_WORKERS)
        try:
            self._iterator = iter(self._dataset)
            while not self._closing.is_set():
                self._hand_over(next(self._iterator), None)
        except BaseException as error:  # raised again in the thread that waits
            self._hand_over(None, error)

    def _hand_over(self, batch: Any, error: BaseException | None) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(queue.Full):
                return self._ready.put((batch, error), timeout=_POLL_SECONDS)

    def _gone(self) -> list[int]:
        """Exit codes of the worker processes that have ended."""
        if len(self._workers) < self._count:
            running = set(multiprocessing.active_children()) - self._before
            ours = {p for p in running if p.name.startswith(_GRAIN_WORKER)}
            self._workers += ours.difference(self._workers)
        return [p.exitcode for p in self._workers if p.exitcode is not None]

    def _explain(self, error: BaseException) -> BaseException:
        gone = [code for code in self._gone() if code != 0]
        if isinstance(error, InputError | RunError) or not (gone or str(error).startswith(_DIED)):
            return error
        reason = f"exit code {gone[0]}" if gone else " ".join(str(error).split())[:200]
        return RunError(
            f"a process that reads the training images has died ({reason}); the run stops. The "
            "usual causes are too little memory or /dev/shm (fewer `data.workers` need less) and a "
            "script without `if __name__ == '__main__':`. The same command goes on from the last "
            "checkpoint."
        )


def _set_up_worker(parent: int, index: int, count: int) -> None:
    """Run first in each worker process."""
    for number in _NOT_FOR_WORKERS:
        signal.signal(number, signal.SIG_IGN)
    os.environ["JAX_PLATFORMS"] = "cpu"
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_platforms", "cpu")

    def end_with_parent() -> None:
        # A parent that was killed with SIGKILL cannot tell its workers.
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


@contextlib.contextmanager
def _without_accelerator():
    """Hide the accelerator from processes started inside, before any code of ours runs there.

    JAX in this process has already read the variable.
    """
    before = os.environ.get("JAX_PLATFORMS")
    os.environ["JAX_PLATFORMS"] = "cpu"
    try:
        yield
    finally:
        if before is None:
            del os.environ["JAX_PLATFORMS"]
        else:
            os.environ["JAX_PLATFORMS"] = before
