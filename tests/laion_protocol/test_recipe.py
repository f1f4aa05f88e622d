import pytest
from pydantic import ValidationError

from laion_protocol import ModelSpec, Recipe, SourceKind


def test_the_hash_names_the_content_and_not_the_way_it_was_written():
    recipe = Recipe(kind=SourceKind.WAT)

    again = Recipe.model_validate_json(recipe.model_dump_json())

    assert again.sha256 == recipe.sha256
    assert recipe.model_copy(update={"min_similarity": 0.3}).sha256 != recipe.sha256


def test_the_default_recipes_hash_changes_only_on_purpose():
    # A manifest of last year must still name the recipe it names. A new field or default changes
    # this hash: raise it knowingly.
    assert Recipe(kind=SourceKind.WARC).sha256.startswith("53bf105e4fb169f8")


def test_a_misspelt_setting_is_refused_by_name():
    with pytest.raises(ValidationError, match="min_simlarity"):
        Recipe.model_validate({"kind": "warc", "min_simlarity": 0.3})


@pytest.mark.parametrize(
    "origin",
    [
        {},
        {"config_sha256": "0" * 64},
        {"pretrained": "x", "config_sha256": "0" * 64, "weights_sha256": "0" * 64},
    ],
)
def test_a_model_has_exactly_one_origin(origin):
    with pytest.raises(ValidationError, match="name either"):
        ModelSpec(architecture="ViT-B-32", **origin)
