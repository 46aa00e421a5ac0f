"""The Text CNN from zero: textbook convolutions, the best epoch kept, all three kinds of task."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score, roc_auc_score
from torch import nn

from vitrina.encoder.weights import initial_weights
from vitrina.errors import InputError
from vitrina.evaluation.models.text_cnn import TextCNN, _head, _Network
from vitrina.evaluation.task import Task
from vitrina.text.normalize import Normalizer
from vitrina.text.tokenizer import TitleTokenizer


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def task(grocery_titles):
    titles = [*grocery_titles[:1200], "", "!"]
    labels = np.array(["OZ" in title for title in titles])
    order = np.random.default_rng(0).permutation(len(titles))
    train, validation, test = np.split(order, [700, 900])
    return Task("ounces", "binary", titles, labels, train, validation, test)


@pytest.fixture(scope="module")
def lengths(task):
    """A price of sorts: a number that follows from the title."""
    labels = np.array([float(len(title.split())) for title in task.titles])
    return replace(task, kind="regression", labels=labels)


@pytest.fixture(scope="module")
def model(task, lengths, tmp_path_factory):
    model = TextCNN(name="Text CNN", folder=tmp_path_factory.mktemp("cnn"), batch_size=32, epochs=4)
    model.prepare([task, lengths], quiet=True)
    return model


class Textbook(nn.Module):
    """Kim 2014 as one would write it: one padded convolution over embeddings for each width."""

    def __init__(self, start, linear):
        super().__init__()
        filters = len(start.bias) // 4
        self.embeddings = nn.Embedding.from_pretrained(
            torch.from_numpy(start.embeddings.copy()), freeze=False
        )
        self.convolutions = nn.ModuleList()
        block = 0
        for i, width in enumerate((2, 3, 4, 5)):
            convolution = nn.Conv1d(start.embeddings.shape[1], filters, width)
            weight = np.stack(
                [
                    start.filters[:, (block + p) * filters : (block + p + 1) * filters].T
                    for p in range(width)
                ],
                axis=2,
            )
            convolution.weight.data = torch.from_numpy(weight)
            bias = start.bias[i * filters : (i + 1) * filters].copy()
            assert convolution.bias is not None
            convolution.bias.data = torch.from_numpy(bias)
            self.convolutions.append(convolution)
            block += width
        self.linear = nn.Linear(*linear.weight.shape[::-1])
        self.linear.load_state_dict(linear.state_dict())

    def forward(self, titles):
        outputs = []
        for pieces in titles:
            x = self.embeddings(torch.from_numpy(pieces.astype(np.int64))).T[None]
            pooled = [convolution(x).amax(2).relu() for convolution in self.convolutions]
            outputs.append(self.linear(torch.cat(pooled, 1)))
        return torch.cat(outputs)


def test_outputs_and_a_step_are_those_of_a_textbook_network(tokenizer, grocery_titles):
    start = initial_weights(tokenizer, dim=24, filters=8, seed=1)
    settings = TextCNN(name="Text CNN", dropout=0.0, learning_rate=0.01)
    network = _Network(start, 1, settings)
    textbook = Textbook(start, network.head[1])
    titles = tokenizer(["", *grocery_titles[:40]])
    truth = np.arange(41) % 2 == 0
    np.testing.assert_allclose(
        network(titles), textbook(titles).detach().numpy(), atol=1e-5, rtol=1e-4
    )

    _, loss, _ = _head("binary", truth, 0)
    network.learn(titles, loss, np.arange(41))
    optimizer = torch.optim.Adam(textbook.parameters(), 0.01)
    out = textbook(titles)
    nn.functional.binary_cross_entropy_with_logits(
        out, torch.from_numpy(truth.astype(np.float32))[:, None]
    ).backward()
    gradients = textbook.embeddings.weight.grad
    optimizer.step()
    clear = gradients.abs() > 1e-4  # Adam's first step is the sign: nearer to zero, rounding
    assert clear.sum() > 100
    trained = network.encoder.embeddings.detach()
    assert torch.allclose(trained[clear], textbook.embeddings.weight.detach()[clear], atol=1e-4)
    unseen = np.setdiff1d(np.arange(len(tokenizer)), titles.values)
    np.testing.assert_array_equal(trained[unseen], start.embeddings[unseen])


def test_learns_a_binary_task_and_repeats_itself(task, model):
    rows = task.train[:250]
    first, again, other = (
        model.fit(task, rows, seed).predict_scores(task.test) for seed in (1, 1, 2)
    )
    assert roc_auc_score(task.labels[task.test], first) > 0.95
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_learns_numbers_on_any_scale(lengths, model):
    rows = lengths.train[:400]
    predicted = model.fit(lengths, rows, 0).predict_scores(lengths.test)
    assert r2_score(lengths.labels[lengths.test], predicted) > 0.5
    far = replace(lengths, labels=1e4 + 1e3 * lengths.labels)
    model.prepare([far], quiet=True)
    np.testing.assert_allclose(
        model.fit(far, rows, 0).predict_scores(far.test), 1e4 + 1e3 * predicted, rtol=0.02
    )


def test_classes_without_labels_are_lowest(task, model):
    labels = np.where(task.labels, 3, np.arange(len(task.labels)) % 2)
    sorts = replace(task, kind="multiclass", labels=labels, classes=tuple("abcd"))
    model.prepare([sorts], quiet=True)
    scores = model.fit(sorts, sorts.train[:300], 0).predict_scores(sorts.test)
    assert scores.shape == (len(sorts.test), 4)
    assert (scores[:, 2] < scores[:, [0, 1, 3]].min()).all()
    assert roc_auc_score(labels[sorts.test] == 3, scores[:, 3]) > 0.9


def test_keeps_the_epoch_that_is_best_on_validation(task, model):
    flipped = np.random.default_rng(0).random(len(task.labels)) < 0.35
    noisy = replace(task, labels=task.labels ^ flipped)
    model.prepare([noisy], quiet=True)
    rows = noisy.train[:100]
    # a run of e epochs is the start of a longer one: its last weights are kept if they are the best
    values, kept = [], []
    for epochs in range(1, 7):
        fitted = replace(model, epochs=epochs, patience=100).fit(noisy, rows, 0)
        scores = fitted.predict_scores(noisy.validation)
        values.append(roc_auc_score(noisy.labels[noisy.validation], scores))
        kept.append(fitted.settings["epochs"])
    assert values == sorted(values)
    assert kept == [1 + values.index(value) for value in values]
    assert 1 < len(set(kept)) < 6

    stopped = replace(model, epochs=6, patience=1).fit(noisy, rows, 0)
    first_loss = next(e for e in range(1, 6) if values[e] == values[e - 1])
    assert stopped.settings["epochs"] == kept[first_loss - 1]


def test_validation_rows_of_one_class_stop_nothing(task, model):
    one_sided = replace(task, validation=task.validation[task.labels[task.validation]])
    model.prepare([one_sided], quiet=True)
    with pytest.warns(UserWarning, match="one class"):
        fitted = replace(model, epochs=3, patience=1).fit(one_sided, task.train[:50], 0)
    assert fitted.settings["epochs"] == 3


def test_vocabulary_comes_from_training_titles_and_is_made_once(task, tmp_path):
    model = TextCNN(name="Text CNN", folder=tmp_path / "new")
    with pytest.raises(InputError, match="prepare"):
        model.fit(task, task.train[:10], 0)
    model.prepare([task], quiet=True)
    (made,) = model.folder.iterdir()
    expected = TitleTokenizer.train(task.titles_of(task.train), Normalizer())
    assert made.read_bytes() == expected.model
    written = made.stat().st_mtime_ns
    model.prepare([task], quiet=True)
    assert made.stat().st_mtime_ns == written


def test_several_seeds_where_labels_are_few():
    model = TextCNN(name="Text CNN")
    assert [model.repeats(size) for size in (100, 1_000, 1_001, 10_000)] == [5, 5, 1, 1]
