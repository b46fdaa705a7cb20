"""The regularisation path: finds the right strength, and its head gives the same figures."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from sweeper.evaluation.baselines import PATH, fit_path, nll


def blobs(items, classes, width=12, noise=1.0, seed=0):
    """Class centres with noise, on features of very different scales."""
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, width))
    targets = np.arange(items) % classes
    features = centres[targets] + noise * chance.normal(size=(items, width))
    scales = np.logspace(-3, 2, width)
    return (features * scales + 5 * scales).astype(np.float32), targets.tolist()


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_it_learns_whatever_the_scale_of_the_features(classes):
    probe = fit_path(*blobs(300, classes), *blobs(200, classes, seed=1), classes)
    held_out, targets = blobs(500, classes, seed=2)
    logs = probe.log_probabilities(held_out)
    assert np.exp(logs).sum(1) == pytest.approx(np.ones(500))
    assert (logs.argmax(1) == targets).mean() > 0.8
    assert nll(logs, targets).mean() < 0.6 * np.log(classes)


def test_noise_asks_for_strong_regularisation_and_clear_data_for_little():
    noisy = fit_path(*blobs(60, 3, noise=8.0), *blobs(300, 3, noise=8.0, seed=1), 3)
    clear = fit_path(*blobs(600, 3, noise=0.3), *blobs(300, 3, noise=0.3, seed=1), 3)
    assert noisy.strength < clear.strength
    assert noisy.losses[noisy.strength] == min(noisy.losses.values())


def test_it_agrees_with_a_single_fit_at_the_chosen_strength():
    train, validation = blobs(200, 3), blobs(100, 3, seed=1)
    probe = fit_path(*train, *validation, 3)
    mean, scale = train[0].mean(0), train[0].std(0)
    model = LogisticRegression(C=probe.strength, max_iter=2000, tol=1e-6)
    model.fit((train[0] - mean) / scale, train[1])
    expected = model.predict_log_proba((validation[0] - mean) / scale)
    assert probe.log_probabilities(validation[0]) == pytest.approx(expected, abs=0.1)


def test_a_class_without_training_items_gets_next_to_no_probability():
    train, targets = blobs(90, 3)
    probe = fit_path(train, targets, *blobs(30, 3, seed=1), classes=4)
    logs = probe.log_probabilities(train)
    assert logs.shape == (90, 4)
    assert logs[:, 3].max() < -10


def test_a_constant_feature_does_no_harm():
    train, targets = blobs(90, 3)
    train[:, 4] = 2.0
    probe = fit_path(train, targets, *blobs(60, 3, seed=1), classes=3)
    assert np.isfinite(probe.weight).all()


def test_the_path_is_ascending():
    assert list(PATH) == sorted(PATH)


def test_a_feature_that_never_varies_gets_no_weight():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(60, 4)).astype(np.float32)
    targets = [int(row[0] > 0) for row in features]
    features[:, 3] = 0.25 + generator.normal(size=60) * 1e-8
    probe = fit_path(features, targets, features, targets, 2)
    assert np.abs(probe.weight[:, 3]).max() == 0.0
    assert np.abs(probe.weight).max() < 100
