"""Independent float64 NumPy loops: slow, plain, and written from the definitions."""

import math

import numpy as np


def place(images, cells, n):
    batch, height, width, channels = images.shape
    canvas = np.zeros((batch, n * height, n * width, channels))
    for b in range(batch):
        row, column = divmod(int(cells[b]), n)
        top, left = row * height, column * width
        canvas[b, top : top + height, left : left + width] = images[b]
    return canvas


def _outside(x, i, j, mode):
    """The value at (i, j), which may lie outside the map [H, W, C]."""
    height, width = x.shape[:2]
    inside = 0 <= i < height and 0 <= j < width
    if mode in ("zeros", "partial"):
        return x[i, j] if inside else np.zeros(x.shape[-1])
    if mode == "circular":
        return x[i % height, j % width]
    if mode == "replicate":
        return x[min(max(i, 0), height - 1), min(max(j, 0), width - 1)]
    assert mode == "reflect"

    def mirror(k, size):
        k = abs(k)
        return 2 * (size - 1) - k if k >= size else k

    return x[mirror(i, height), mirror(j, width)]


def bilinear(x, height, width):
    """Half-pixel centres, borders clamped, of one map [H, W, C]."""
    out = np.zeros((height, width, x.shape[-1]))
    for i in range(height):
        for j in range(width):
            y = (i + 0.5) * x.shape[0] / height - 0.5
            z = (j + 0.5) * x.shape[1] / width - 0.5
            y0, z0 = int(np.floor(y)), int(np.floor(z))
            for a, wa in ((y0, 1 - (y - y0)), (y0 + 1, y - y0)):
                for b, wb in ((z0, 1 - (z - z0)), (z0 + 1, z - z0)):
                    out[i, j] += wa * wb * _outside(x, a, b, "replicate")
    return out


def conv2d(x, kernel, stride, dilation, mode):
    size, _, _, features = kernel.shape
    reach = dilation * (size // 2)
    outputs = []
    for image in x.astype(np.float64):
        shift = -reach
        if mode == "resize" and size > 1:
            extra = 3 if size == 7 and dilation == 1 else 2 * reach
            image = bilinear(image, image.shape[0] + extra, image.shape[1] + extra)
            shift = 0
            sides = [(s - dilation * (size - 1) - 1) // stride + 1 for s in image.shape[:2]]
        else:
            sides = [-(-s // stride) for s in image.shape[:2]]
        out = np.zeros((*sides, features))
        for i in range(sides[0]):
            for j in range(sides[1]):
                inside = 0
                for a in range(size):
                    for b in range(size):
                        y = i * stride + a * dilation + shift
                        z = j * stride + b * dilation + shift
                        known = 0 <= y < image.shape[0] and 0 <= z < image.shape[1]
                        inside += known
                        where = "zeros" if mode == "resize" else mode
                        out[i, j] += _outside(image, y, z, where) @ kernel[a, b]
                if mode == "partial":
                    out[i, j] *= size * size / inside
        outputs.append(out)
    return np.stack(outputs)


def max_pool2d(x, size, stride, amount, mode):
    outputs = []
    for image in x.astype(np.float64):
        sides = [(s + 2 * amount - size) // stride + 1 for s in image.shape[:2]]
        out = np.full((*sides, image.shape[-1]), -np.inf)
        for i in range(sides[0]):
            for j in range(sides[1]):
                for a in range(size):
                    for b in range(size):
                        y, z = i * stride + a - amount, j * stride + b - amount
                        inside = 0 <= y < image.shape[0] and 0 <= z < image.shape[1]
                        if mode in ("zeros", "partial") and not inside:
                            continue
                        out[i, j] = np.maximum(out[i, j], _outside(image, y, z, mode))
        outputs.append(out)
    return np.stack(outputs)


def cross_entropy(logits, labels):
    out = []
    for row, label in zip(logits.astype(np.float64), labels, strict=True):
        out.append(np.log(np.exp(row - row.max()).sum()) + row.max() - row[label])
    return np.array(out)


def ridge_predictions(x, y, fitting, strength):
    """Predictions on all rows of the ridge regression fitted on the rows `fitting`."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    z = (x - x[fitting].mean(0)) / x[fitting].std(0)
    offset = y[fitting].mean(0)
    gram = z[fitting].T @ z[fitting] / fitting.sum() + strength * np.eye(x.shape[1])
    cross = z[fitting].T @ (y[fitting] - offset) / fitting.sum()
    return z @ np.linalg.solve(gram, cross) + offset


def ridge_answers(x, targets, fitting, strength, num_classes):
    """Answers on all rows of the ridge classifier fitted on the rows `fitting`."""
    return ridge_predictions(x, np.eye(num_classes)[targets], fitting, strength).argmax(1)


def shift(x, offsets, mode):
    """Each image of [B, H, W, C] moved by its (dy, dx), pixel by pixel."""
    out = np.zeros(x.shape)
    for b, (dy, dx) in enumerate(offsets):
        for i in range(x.shape[1]):
            for j in range(x.shape[2]):
                out[b, i, j] = _outside(x[b].astype(np.float64), i - dy, j - dx, mode)
    return out


def blur_pool2d(x, taps, stride, mode):
    """The binomial kernel as one two-dimensional convolution, channel by channel."""
    line = np.array([math.comb(taps - 1, i) for i in range(taps)], np.float64)
    weights = np.outer(line, line) / line.sum() ** 2
    reach = (taps - 1) // 2
    outputs = []
    for image in x.astype(np.float64):
        height, width = image.shape[:2]
        start = -reach
        if mode == "resize":
            image, start = bilinear(image, height + taps - 1, width + taps - 1), 0
        out = np.zeros((-(-height // stride), -(-width // stride), image.shape[-1]))
        for i, j in np.ndindex(*out.shape[:2]):
            share = 0.0
            for (a, b), weight in np.ndenumerate(weights):
                y, z = i * stride + a + start, j * stride + b + start
                inside = 0 <= y < image.shape[0] and 0 <= z < image.shape[1]
                share += weight * inside
                out[i, j] += weight * _outside(image, y, z, "zeros" if mode == "resize" else mode)
            if mode == "partial":
                out[i, j] /= share
        outputs.append(out)
    return np.stack(outputs)


def consistency(answers, clean, labels, pairs):
    """Shares over images and pairs of views, counted one by one."""
    agree = right = both = worst = under = 0
    for row, still, label in zip(answers, clean, labels, strict=True):
        for i, j in pairs:
            agree += row[i] == row[j]
            right += row[i] == label
            both += row[i] == label and row[j] == label
        worst += still == label and all(answer == label for answer in row)
        under += np.mean([answer == label for answer in row])
    return {
        "consistency": agree / (len(answers) * len(pairs)),
        "consistency_given_correct": both / right,
        "worst_case_accuracy": worst / len(answers),
        "shifted_accuracy": under / len(answers),
        "accuracy": np.mean(np.asarray(clean) == labels),
    }


def invariance_loss(latent, norm, normalise):
    """Mean over pairs of views of [V, B, C]: one number per image."""
    latent = latent.astype(np.float64)
    if normalise == "length":
        latent = latent / np.sqrt((latent**2).mean(-1, keepdims=True))
    if normalise == "batch":
        latent = (latent - latent.mean((0, 1))) / latent.std((0, 1))
    views, batch, _ = latent.shape
    out = np.zeros(batch)
    for b in range(batch):
        values = []
        for i in range(views):
            for j in range(i + 1, views):
                x, y = latent[i, b], latent[j, b]
                d = np.abs(x - y)
                values.append(
                    {
                        "l1": d.mean(),
                        "l2": (d**2).mean(),
                        "smooth_l1": np.mean([e * e / 2 if e < 1 else e - 0.5 for e in d]),
                        "cosine": 1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y),
                    }[norm]
                )
        out[b] = np.mean(values)
    return out


def standardise(x, fitting):
    """Rows [N, C] by the mean and deviation of the rows `fitting`; dead channels are 0."""
    x = x.astype(np.float64)
    mean, std = x[fitting].mean(0), x[fitting].std(0)
    return np.where(std > 0, (x - mean) / np.where(std > 0, std, 1), 0)


def content_matches(latent):
    """Which image is it? Latents [N, M, C] against means over other cells, one by one."""
    images, cells, channels = latent.shape
    rows = latent.reshape(-1, channels)
    x = standardise(rows, np.ones(len(rows), bool)).reshape(latent.shape)
    out = np.zeros((images, cells))
    for i in range(images):
        for m in range(cells):
            others = [c for c in range(cells) if c != m]
            cosines = []
            for j in range(images):
                known = x[j, others].mean(axis=0)
                length = np.linalg.norm(known) * np.linalg.norm(x[i, m])
                cosines.append(known @ x[i, m] / length if length > 0 else 0.0)
            ties = [j for j in range(images) if abs(cosines[j] - max(cosines)) < 1e-6]
            out[i, m] = (i in ties) / len(ties)
    return out


def variance_shares(x):
    """Shares of position, content, interaction of one channel [N, M]: sums over all places."""
    images, cells = x.shape
    x = x.astype(np.float64)
    mean = x.sum() / x.size
    total = position = content = interaction = 0.0
    for i in range(images):
        for m in range(cells):
            cell, image = x[:, m].mean(), x[i].mean()
            total += (x[i, m] - mean) ** 2
            position += (cell - mean) ** 2
            content += (image - mean) ** 2
            interaction += (x[i, m] - cell - image + mean) ** 2
    return np.array([position, content, interaction]) / total


def nearest_mean_hits(latent):
    """Is the nearest mean of the other images the own cell's? Latents [N, M, C], one by one."""
    images, cells, channels = latent.shape
    rows = latent.reshape(-1, channels)
    x = standardise(rows, np.ones(len(rows), bool)).reshape(latent.shape)
    out = np.zeros((images, cells))
    for i in range(images):
        means = np.delete(x, i, axis=0).mean(axis=0)
        for m in range(cells):
            out[i, m] = np.argmin(((x[i, m] - means) ** 2).sum(axis=1)) == m
    return out


def leace(x, cell):
    """P and b of section 4 of Belrose et al. (2023), from matrix functions."""
    x, z = x.astype(np.float64), np.eye(cell.max() + 1)[cell]
    mean = x.mean(0)
    covariance, cross = np.cov(x.T, ddof=0), (x - mean).T @ (z - z.mean(0)) / len(x)
    values, vectors = np.linalg.eigh(covariance)
    root = vectors @ np.diag(np.sqrt(np.maximum(values, 0))) @ vectors.T
    whiten = np.linalg.pinv(root, rcond=1e-6)
    onto = whiten @ cross @ np.linalg.pinv(whiten @ cross, rcond=1e-6)
    matrix = np.eye(len(mean)) - np.linalg.pinv(whiten, rcond=1e-6) @ onto @ whiten
    return matrix, mean - matrix @ mean


def canvases(images, background, n, size):
    """Each image pasted into every cell, over its background [B, H, W, C]."""
    batch, height, width, channels = images.shape
    top, left = (size[0] - n * height) // 2, (size[1] - n * width) // 2
    out = np.zeros((batch, n * n, *size, channels))
    for b, cell in np.ndindex(batch, n * n):
        row, column = top + cell // n * height, left + cell % n * width
        out[b, cell] = background[b]
        out[b, cell, row : row + height, column : column + width] = images[b]
    return out


def stretched_blur(image, size, share):
    """A Gaussian average of [h, w, C] about the place of each pixel of a canvas, by loops."""
    height, width = image.shape[:2]
    out = np.zeros((*size, image.shape[-1]))
    for y, x in np.ndindex(*size):
        total = 0.0
        for i, j in np.ndindex(height, width):
            down = (y + 0.5) / size[0] - (i + 0.5) / height
            across = (x + 0.5) / size[1] - (j + 0.5) / width
            weight = math.exp(-(down**2 + across**2) / (2 * share**2))
            out[y, x] += weight * image[i, j]
            total += weight
        out[y, x] /= total
    return out


def shifted_views(images, offsets, protocol, margin):
    """Views [B, V, ...] of the central part, by slices and rolls."""
    batch, height, width, channels = images.shape
    size = height - 2 * margin, width - 2 * margin
    out = np.zeros((batch, len(offsets), *size, channels))
    for b, v in np.ndindex(batch, len(offsets)):
        dy, dx = offsets[v]
        if protocol == "crop":
            top, left = margin - dy, margin - dx
            out[b, v] = images[b, top : top + size[0], left : left + size[1]]
            continue
        still = images[b, margin : height - margin, margin : width - margin]
        out[b, v] = np.roll(still, (dy, dx), (0, 1))
        if protocol == "zeros":
            for axis, by in enumerate((dy, dx)):
                gone = [slice(None)] * 2
                gone[axis] = slice(0, by) if by >= 0 else slice(by, None)
                out[b, v][tuple(gone)] = 0.0
    return out
