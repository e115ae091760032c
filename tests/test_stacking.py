import re

import pytest
from PIL import Image

from studio.errors import BaseModelMismatchError, InvalidRequestError, ModelNotFoundError
from studio.library.index import Library
from studio.params import AdapterRef, GenerationRequest
from studio.registry import load_registry
from studio.resolve import Resolver
from studio.settings import load_settings
from tests.library import headers
from tests.library.cases import LORAS
from tests.library.headers import lora, write
from tests.library.test_library import make_checkpoint


@pytest.fixture(scope="module")
def resolver(tmp_path_factory):
    settings = load_settings(tmp_path_factory.mktemp("stacking"))
    settings.paths.create()
    models = settings.paths.models
    make_checkpoint(models / "checkpoints" / "big")
    for place in ("loras/old", "loras/new", "embeddings/old", "embeddings/new", "hypernetworks"):
        (models / place).mkdir(parents=True, exist_ok=True)
    write(models / "loras" / "ink.safetensors", lora("sd1", only="mid_block"))
    write(models / "loras" / "oil.safetensors", lora("sdxl", only="attn1"))
    write(models / "loras" / "new" / "cat.safetensors", lora("sdxl", only="attn1"))
    write(models / "loras" / "old" / "cat.safetensors", lora("sd1", only="attn2"))
    write(models / "loras" / "vague.safetensors", lora("sd1", only="attn1"))
    write(models / "loras" / "flux.safetensors", LORAS["lora-flux"].tensors)
    write(models / "embeddings" / "old" / "bad-hands.safetensors", {"emb_params": (2, 768)})
    write(models / "embeddings" / "new" / "bad-hands.safetensors", {"clip_l": (2, 768), "clip_g": (2, 1280)})
    write(models / "embeddings" / "wide-face.safetensors", {"emb_params": (2, 1024)})
    write(models / "hypernetworks" / "mood.safetensors", headers.hypernetwork(768, 320))
    return Resolver(Library(settings), load_registry(), lambda _: True, lambda _: Image.new("RGB", (8, 8)))


def resolve(resolver, *adapters, prompt="x", **fields):
    request = GenerationRequest(prompt=prompt, checkpoint="big", adapters=adapters, **fields)
    return resolver.resolve(request)


def test_adapters_are_named_by_content_in_the_order_of_the_stack(resolver):
    params, notes = resolve(resolver, AdapterRef(name="cat", weight=0.5), AdapterRef(name="ink"))
    assert [ref.weight for ref in params.adapters] == [0.5, 1]
    located = resolver.library.locate(params)
    assert [located[ref.id].kind for ref in params.adapters] == ["lora", "lora"]
    assert located[params.adapters[1].id].path.endswith("ink.safetensors")
    assert notes == ()


def test_of_two_files_of_one_name_that_which_fits_is_meant(resolver):
    (cat,) = resolve(resolver, AdapterRef(name="cat"))[0].adapters
    assert "old" in resolver.library.locate(resolve(resolver, AdapterRef(name="cat"))[0])[cat.id].path


def test_params_made_into_a_request_ask_for_the_same_stack(resolver):
    params, _ = resolve(
        resolver, AdapterRef(name="ink", blocks=(("unet.mid_block", 0.5),), end=0.5), prompt="bad-hands"
    )
    assert resolver.resolve(params.to_request())[0] == params


def test_an_adapter_that_is_off_is_not_in_the_stack(resolver):
    refs = AdapterRef(name="ink", weight=0), AdapterRef(name="cat", weight=0, text_weight=1)
    assert [ref.text_weight for ref in resolve(resolver, *refs)[0].adapters] == [1]


@pytest.mark.parametrize("name", ["INK", "ink.safetensors", "styles/ink"])
def test_a_name_may_be_written_as_other_programs_write_it(resolver, name):
    assert resolve(resolver, AdapterRef(name=name))[0].adapters[0].name == "ink"


def test_one_that_was_renamed_is_found_by_its_content(resolver):
    (ink,) = resolve(resolver, AdapterRef(name="ink"))[0].adapters
    (found,) = resolve(resolver, AdapterRef(name="pen", id=ink.id[:10]))[0].adapters
    assert found.name == "ink"


def test_another_file_of_the_same_name_is_told(resolver):
    _, notes = resolve(resolver, AdapterRef(name="ink", id="0" * 64))
    assert "another file" in notes[0]


def test_one_that_says_no_base_model_is_tried_and_told(resolver):
    params, notes = resolve(resolver, AdapterRef(name="vague"))
    assert params.adapters[0].name == "vague"
    assert "does not say for which base model" in notes[0]


def test_weights_of_one_that_stands_twice_add_up(resolver):
    params, notes = resolve(resolver, AdapterRef(name="ink"), AdapterRef(name="ink", weight=0.5))
    assert len(params.adapters) == 2
    assert "ink is in the stack 2 times" in notes[0]


def test_a_hypernetwork_is_found_by_its_kind(resolver):
    (mood,) = resolve(resolver, AdapterRef(name="mood", kind="hypernetwork"))[0].adapters
    assert (mood.kind, len(mood.id)) == ("hypernetwork", 64)


@pytest.mark.parametrize(
    ("ref", "error", "says"),
    [
        (AdapterRef(name="oil"), BaseModelMismatchError, r"oil was made for SDXL, and the checkpoint for SD 1\.5"),
        (AdapterRef(name="inc"), ModelNotFoundError, "Did you mean ink"),
        (AdapterRef(name="mood"), ModelNotFoundError, "It is a hypernetwork"),
        (AdapterRef(name="bad-hands"), ModelNotFoundError, "write its name into the prompt"),
        (AdapterRef(name="flux"), InvalidRequestError, "cannot be used"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(resolver, ref, error, says):
    with pytest.raises(error) as refused:
        resolve(resolver, ref)
    assert re.search(says, refused.value.sentence())


def test_a_hundred_adapters_are_taken(resolver):
    refs = [AdapterRef(name="ink", weight=0.01)] * 100
    assert len(resolve(resolver, *refs)[0].adapters) == 100


def test_embeddings_are_found_where_their_names_stand(resolver):
    params, notes = resolve(resolver, prompt="a face", negative_prompt="(bad-hands:1.2), blurry")
    assert [ref.name for ref in params.embeddings] == ["bad-hands"]
    assert "old" in resolver.library.locate(params)[params.embeddings[0].id].path
    assert notes == ()


def test_an_embedding_for_another_base_is_read_as_words_and_told(resolver):
    params, notes = resolve(resolver, prompt="a wide-face")
    assert params.embeddings == ()
    assert "read as plain words" in notes[0]


def test_a_word_that_is_nearly_an_embedding_is_told(resolver):
    _, notes = resolve(resolver, prompt="x", negative_prompt="bad-hand")
    assert "did you mean bad-hands" in notes[0]


def test_tags_of_the_prompt_follow_the_list_and_are_no_words(resolver):
    params, _ = resolve(resolver, AdapterRef(name="cat"), prompt="a dog <lora:ink:0.3:0.5>, <hypernet:mood> at night")
    assert params.prompt == "a dog ,  at night"
    assert params.template == "a dog <lora:ink:0.3:0.5>, <hypernet:mood> at night"
    assert [(r.name[:3], r.kind, r.weight, r.text_weight) for r in params.adapters] == [
        ("cat", "lora", 1, None),
        ("ink", "lora", 0.5, 0.3),
        ("moo", "hypernetwork", 1, None),
    ]


def test_a_tag_that_names_nothing_or_weighs_too_much_is_refused(resolver):
    with pytest.raises(ModelNotFoundError, match="inc"):
        resolve(resolver, prompt="a dog <lora:inc:1>")
    with pytest.raises(InvalidRequestError, match="between -4 and 4"):
        resolve(resolver, prompt="a dog <lora:ink:1e9>")


def test_variants_are_drawn_by_the_seed_of_the_picture(resolver):
    drawn = [resolve(resolver, prompt="a {red|blue|green} dog", seed=n)[0] for n in (1, 2, 3, 1)]
    assert drawn[0] == drawn[3]
    assert len({params.prompt for params in drawn}) > 1
    assert {params.template for params in drawn} == {"a {red|blue|green} dog"}


def test_a_plain_prompt_has_no_template(resolver):
    assert resolve(resolver, prompt="a (red:1.2) dog")[0].template == ""
