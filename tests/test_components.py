"""Registering a component enrols it here: documented, with options that a config can hold."""

import inspect

import pytest
import yaml

from reidtools.config.load import load
from reidtools.registry import (
    BACKBONES,
    DATASETS,
    HEADS,
    LOSSES,
    SAMPLERS,
    TEMPORAL,
    facts,
    options,
)

REGISTRIES = (BACKBONES, HEADS, LOSSES, DATASETS, SAMPLERS, TEMPORAL)
load()  # registers everything
COMPONENTS = [(registry, name) for registry in REGISTRIES for name in registry]
KNOWN_FACTS = {
    "backbone": {"image_size"},
    "head": {"dim", "pooled", "parts"},
    "loss": {"dim", "num_people", "text", "captions", "labels", "seed", "teacher"},
    "dataset": {"root"},
    "sampler": {
        *("pids", "camids", "sources", "batch_size", "seed"),
        *("image_features", "text_features"),
    },
    "temporal pooling": {"dim"},
}
each = pytest.mark.parametrize(
    ("registry", "name"), COMPONENTS, ids=[f"{r.kind}-{n}" for r, n in COMPONENTS]
)


@each
def test_it_says_what_it_is_and_what_its_options_do(registry, name):
    maker, module = registry[name], inspect.getmodule(registry[name])
    assert maker.__doc__, f"{name} has no docstring"
    # A family shares the words of its class: "options: see `ResNet`".
    family = [*getattr(maker, "__mro__", ()), maker, *vars(module).values()]
    text = " ".join(member.__doc__ or "" for member in family if callable(member))
    missing = [option for option in options(maker) if option not in text]
    assert not missing, f"{name} does not document {missing}"


@each
def test_it_asks_for_facts_the_program_has(registry, name):
    assert set(facts(registry[name])) <= KNOWN_FACTS[registry.kind]


@each
def test_its_options_survive_a_config_file(registry, name):
    """Plain YAML values only, so that a run's config.yml can be read back."""
    shown = {
        key: list(v) if isinstance(v, tuple) else v for key, v in options(registry[name]).items()
    }
    assert yaml.safe_load(yaml.safe_dump(shown)) == shown
