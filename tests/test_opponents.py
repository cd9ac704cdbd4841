"""The PyTorch side of the benchmarks is honest: a plain loop's losses, and our own answers."""

import itertools
import random

import numpy as np
import pytest

from benchmarks import random_data
from benchmarks.suites import load
from gpool_jax import ops

torch = pytest.importorskip("torch")
torch_train = pytest.importorskip("benchmarks.torch_train")
torch_measure = pytest.importorskip("benchmarks.torch_measure")


def plain_loop(network, batches, steps, optimizer=None):
    """What a PyTorch user would write first; the oracle of both opponents."""
    network.train()
    optimizer = optimizer or torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.5, 0.999))
    losses = []
    for x, labels in itertools.islice(batches, steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(x), labels, ignore_index=255)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def canvas(dataset, row, cell, mirrored, n):
    image = dataset.train.images[row].astype(np.float32) / 255
    image = (image - np.float32(dataset.mean)) / np.float32(dataset.std)
    image = image[:, ::-1] if mirrored else image
    side = len(image)
    out = np.zeros((n * side, n * side, 3), np.float32)
    top, left = cell // n * side, cell % n * side
    out[top : top + side, left : left + side] = image
    return torch.from_numpy(out.transpose(2, 0, 1).copy())


def test_the_tuned_opponent_learns_what_a_plain_loop_does():
    dataset, n, size = random_data.images(60, 8), 3, 12

    def batches():
        while True:
            rows = torch.randint(0, 60, (size,)).tolist()
            cells = torch.randint(0, n * n, (size,))
            mirrored = (torch.rand(size) < 0.5).tolist()
            drawn = zip(rows, cells.tolist(), mirrored, strict=True)
            yield torch.stack([canvas(dataset, *one, n) for one in drawn]), cells

    network = torch_train.make_resnet(1 / 16, n * n, head="gapnet")
    torch.manual_seed(1)
    expected = plain_loop(network, batches(), 4)
    call = torch_train.tuned_position_step(
        torch_train.make_resnet(1 / 16, n * n, head="gapnet"),
        dataset,
        n=n,
        batch_size=size,
        steps=1,
        dtype="float32",
    )
    torch.manual_seed(1)
    found = [call() for _ in range(4)]
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    # Adam's first steps are as long for gradients of rounding errors as for others: on some
    # processors the two memory layouts differ by 5e-4 after them.
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_the_reference_opponent_learns_what_a_plain_loop_does():
    dataset, n, size = random_data.images(60, 8), 3, 12
    draw = random.Random(0)

    def batches():
        while True:
            rows = [draw.randrange(60) for _ in range(size)]
            drawn = [(row, draw.random() < 0.5, draw.randrange(n * n)) for row in rows]
            x = torch.stack([canvas(dataset, row, cell, m, n) for row, m, cell in drawn])
            yield x, torch.tensor([cell for _, _, cell in drawn])

    def network():
        return torch_train.make_resnet(1 / 16, n * n, head="permutenet")

    expected = plain_loop(network(), batches(), 4)
    call = torch_train.reference_position_step(network(), dataset, n=n, batch_size=size)
    np.testing.assert_allclose([call() for _ in range(4)], expected, rtol=2e-4)


@pytest.mark.parametrize("opponent", ["reference", "tuned"])
def test_the_segmenting_opponents_learn_what_a_plain_loop_does(opponent):
    dataset, size = random_data.scenes(12, (33, 41), num_classes=5), 4
    draw = random.Random(0)

    def network():
        made = torch_train.make_deeplab(18, 5, width=1 / 16, output_stride=8, rates=(1, 2, 3))
        for layer in made.modules():  # its numbers are not drawn in the same order
            if isinstance(layer, torch.nn.Dropout):
                layer.p = 0.0
        return made

    def drawn():
        if opponent == "tuned":
            rows = torch.randint(0, len(dataset.train.images), (size,)).tolist()
            return zip(rows, (torch.rand(size) < 0.5).tolist(), strict=True)
        rows = [draw.randrange(len(dataset.train.images)) for _ in range(size)]
        return [(row, draw.random() < 0.5) for row in rows]

    def batches():
        while True:
            images, labels = [], []
            for row, mirrored in drawn():
                image = dataset.train.images[row].astype(np.float32) / 255
                image = (image - np.float32(dataset.mean)) / np.float32(dataset.std)
                label = dataset.train.labels[row].astype(np.int64)
                if mirrored:
                    image, label = image[:, ::-1], label[:, ::-1]
                images.append(torch.from_numpy(image.transpose(2, 0, 1).copy()))
                labels.append(torch.from_numpy(label.copy()))
            yield torch.stack(images), torch.stack(labels)

    plain = network()
    sgd = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    torch.manual_seed(1)
    expected = plain_loop(plain, batches(), 3, sgd)
    options = {"batch_size": size}
    if opponent == "tuned":
        options |= {"steps": 1, "dtype": "float32"}
    build = getattr(torch_train, f"{opponent}_segmentation_step")
    call = build(network(), dataset, **options)
    torch.manual_seed(1)
    np.testing.assert_allclose([call() for _ in range(3)], expected, rtol=2e-4)


def test_all_contenders_of_the_attack_count_the_same():
    (case,) = load("attack").cases(True)
    found = {contender.name: contender.build()() for contender in case.contenders}
    ours = found.pop("ours")
    assert ours.shape[:2] == (2, 147)
    assert (ours != ours[:, :1]).any()  # the sets do change answers
    for confusion in found.values():
        counts = np.asarray(ops.class_counts(confusion)).swapaxes(0, 1)
        # A pixel between two classes may fall to either side.
        assert np.abs(counts - ours).max() <= 3
        assert (counts != ours).mean() < 1e-3
        expected = ops.mean_iou(ours.sum(axis=0))
        np.testing.assert_allclose(ops.mean_iou(counts.sum(axis=0)), expected, atol=1e-4)


def test_all_contenders_of_the_ranking_score_the_same():
    (case,) = load("rank").cases(True)
    found = {contender.name: contender.build()() for contender in case.contenders}
    assert found["ours"].std() > 0
    for scores in found.values():
        np.testing.assert_allclose(scores, found["ours"], rtol=1e-3, atol=1e-6)


def test_the_evaluations_answer_as_often_right_whoever_permutes():
    """The opponents agree with each other where nothing is random: one permutation order."""
    dataset = random_data.images(100, 8)
    images = dataset.test.images[:3]
    answers = [
        build(
            torch_train.make_resnet(1 / 16, 9, head="permutenet"),
            images,
            dataset,
            n=3,
            permutations=50,
        )()
        for build in (torch_measure.reference_evaluation, torch_measure.tuned_evaluation)
    ]
    # The same permutations in the same order, cell by cell.
    assert answers[0] == pytest.approx(answers[1], abs=1e-9)
