"""Fewer walks over the modules change nothing about a step."""

import torch
from torch import nn

from sweeper.training.loop.trainer import trainable_cache


def a_model():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    return model


def test_only_what_trains_is_seen_and_its_gradients_are_dropped():
    model = a_model()
    with trainable_cache(model):
        model(torch.ones(5, 3)).sum().backward()
        seen = list(model.parameters())
        assert [id(w) for w in seen] == [id(model[2].weight), id(model[2].bias)]
        assert all(weight.grad is not None for weight in seen)
        model.zero_grad()
        assert all(weight.grad is None for weight in seen)


def test_training_mode_comes_back_after_an_evaluation():
    model = a_model()
    with trainable_cache(model):
        model.eval()
        assert not model[1].training
        model.train()
        assert model[1].training


def test_the_first_call_reaches_parts_that_were_evaluating():
    model = a_model()
    model[1].eval()
    assert model.training
    with trainable_cache(model):
        model.train()
        assert model[1].training


def test_the_model_is_itself_again_afterwards():
    model = a_model()
    with trainable_cache(model):
        pass
    assert len(list(model.parameters())) == 4
    assert not {"parameters", "zero_grad", "train"} & set(vars(model))
